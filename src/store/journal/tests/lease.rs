//! Who has lost a lease.

use futures_util::FutureExt;

use super::*;

fn settled(claimed: &[Claimed]) -> Vec<Settled> {
    let settlement = Settlement::Delivered { attempts: 1 };
    claimed
        .iter()
        .map(|Claimed { claim, .. }| Settled { claim: *claim, settlement: settlement.clone(), attempt: None })
        .collect()
}

fn claim(queue: &dyn Queue) -> Vec<Claimed> {
    let room = Room { deliveries: 10, body_bytes: 1 << 20, urgent_only: false };
    queue.claim(room).now_or_never().expect("all of it is in memory")
}

#[test]
fn a_queue_whose_lease_is_lost_claims_nothing_and_changes_nothing() {
    let (store, _) = open(&ModelDisk::default());
    append(&store, "1", &[CRM]).expect("accepted");
    append(&store, "2", &[CRM]).expect("accepted");
    let before = store.leased(crm(&store));
    let queue = &before.queues[0];
    let claimed = claim(&**queue);
    assert_eq!(claimed.len(), 2);
    before.lost.cancel();
    store.take_back(crm(&store));
    queue.settle(settled(&claimed));
    queue.change(Change::Pause { reason: "not theirs to say".to_owned() });
    assert!(claim(&**queue).is_empty());
    let after = store.leased(crm(&store));
    let again = claim(&*after.queues[0]);
    assert_eq!(again.len(), 2, "they are whoever's who has the lease");
    // What the other hands back is not his any more.
    drop(queue.claim(Room { deliveries: 10, body_bytes: 1 << 20, urgent_only: false }));
    after.queues[0].settle(settled(&again));
    assert_eq!(store.counts(crm(&store)).backlog, 0);
}

#[test]
fn what_a_claim_holds_when_the_lease_is_lost_is_not_handed_back_by_it() {
    let (store, _) = open(&ModelDisk::default());
    append(&store, "1", &[CRM]).expect("accepted");
    let before = store.leased(crm(&store));
    let claiming = before.queues[0].claim(Room { deliveries: 10, body_bytes: 1 << 20, urgent_only: false });
    before.lost.cancel();
    store.take_back(crm(&store));
    let after = store.leased(crm(&store));
    let claimed = claim(&*after.queues[0]);
    drop(claiming);
    assert!(claim(&*after.queues[0]).is_empty(), "it is in flight");
    after.queues[0].settle(settled(&claimed));
    assert_eq!(store.counts(crm(&store)).backlog, 0);
}

#[test]
fn no_lease_outlives_the_store() {
    let (store, _) = open(&ModelDisk::default());
    append(&store, "1", &[CRM]).expect("accepted");
    let lease = store.leased(crm(&store));
    store.close();
    assert!(lease.lost.is_cancelled());
    assert!(claim(&*lease.queues[0]).is_empty());
}
