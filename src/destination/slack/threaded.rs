//! Attempts that go by what the ones before have left behind: into the thread that has begun, or beginning one.

use std::borrow::Cow;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::app::App;
use super::threads::{self, Thread, Threads};
use super::updates::{Counter, EDITED_NO_MORE, Tally};
use super::{Outcome, Slack};
use crate::destination::client::{Answer, NoAnswer};
use crate::destination::{Delivery, Memo, Memory, Place, Unsent};

impl Memory for Slack {
    fn key(&self, delivery: &Delivery) -> Option<String> {
        let app = self.app.as_ref()?;
        app.threads()?.key(delivery, &app.channel(delivery).ok()?)
    }

    fn place(&self, delivery: &Delivery) -> Option<Place> {
        let app = self.app.as_ref()?;
        let name = self.content_masks.apply(app.threads()?.name(delivery)?);
        let (kind, sentence) = match app.updates() {
            true => {
                let by = delivery.digest.as_deref().map_or(1, |digest| digest.count);
                ("counter", format!("or an edit of the message that counts {name}: its number goes up by {by}"))
            }
            false => ("thread", format!("into the thread of {name}")),
        };
        Some(Place { kind, sentence, name })
    }

    fn attempt<'a>(&'a self, delivery: &'a Delivery, memo: &'a mut Memo) -> BoxFuture<'a, Outcome> {
        async {
            let made = match self.app.as_ref().is_some_and(App::updates) {
                true => self.attempt_counted(delivery, memo).await,
                false => self.attempt_in_thread(delivery, memo).await,
            };
            made.unwrap_or_else(Outcome::from)
        }
        .boxed()
    }
}

impl Slack {
    /// The threads that its messages go into.
    pub(super) fn threads(&self) -> Option<&Threads> {
        self.app.as_ref()?.threads()
    }

    /// What a message says that begins with a delivery.
    pub(super) fn begun_with<'d>(&self, delivery: &'d Delivery) -> Cow<'d, Delivery> {
        let counts = self.app.as_ref().filter(|app| app.updates()).and_then(App::threads);
        counts.map_or(Cow::Borrowed(delivery), |threads| {
            Cow::Owned(Tally::default().with(delivery).told(threads, delivery))
        })
    }

    /// Edits the message that counts a delivery's like, or posts it.
    async fn attempt_counted(&self, delivery: &Delivery, memo: &mut Memo) -> Result<Outcome, Unsent> {
        let now_ms = crate::time::wall_ms();
        let known = Counter::known(memo, now_ms);
        if known.as_ref().is_some_and(|known| known.tally.has(delivery)) {
            // It was told, and the end of the process came before that was known.
            return Ok(Outcome::Delivered);
        }
        if delivery.digest.is_none() {
            // What is not sent by itself is not counted either.
            self.body(delivery, None)?;
        }
        let tally = known.as_ref().map(|known| known.tally.clone()).unwrap_or_default().with(delivery);
        let told = self.threads().map_or_else(|| delivery.clone(), |threads| tally.told(threads, delivery));
        if let Some(known) = known {
            let edited = match self.client.call(self.edit(&known, &told)?).await {
                Ok(answer) => answer,
                Err(error) => return Ok(self.unanswered(&error)),
            };
            // The number is kept also where its message is gone.
            if !threads::says(&edited.body, &EDITED_NO_MORE) {
                let outcome = self.outcome(&edited);
                if outcome.is_delivered() {
                    *memo = Counter { tally, ..known }.memo();
                }
                return Ok(outcome);
            }
        }
        let answer = match self.answer_in(&told, None).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(self.unanswered(&error)),
        };
        let outcome = self.outcome(&answer);
        if outcome.is_delivered() {
            *memo = Counter::begun(&answer.body, tally, now_ms).and_then(|counter| counter.memo());
        }
        Ok(outcome)
    }

    async fn attempt_in_thread(&self, delivery: &Delivery, memo: &mut Memo) -> Result<Outcome, Unsent> {
        let now_ms = crate::time::wall_ms();
        let mut thread = Thread::known(memo, now_ms);
        let mut answer = self.answer_in(delivery, thread.as_ref()).await?;
        let is_gone =
            |answer: &Result<Answer, NoAnswer>| answer.as_ref().is_ok_and(|said| threads::is_gone(&said.body));
        if thread.is_some() && is_gone(&answer) {
            // Forgotten whatever comes of it: the next attempt would hear the same.
            (*memo, thread) = (None, None);
            answer = self.answer_in(delivery, None).await?;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(self.unanswered(&error)),
        };
        let outcome = self.outcome(&answer);
        if outcome.is_delivered()
            && let Some(thread) = threads::after(thread, &answer.body, now_ms)
        {
            *memo = thread.memo();
        }
        Ok(outcome)
    }

    async fn answer_in(
        &self,
        delivery: &Delivery,
        thread: Option<&Thread>,
    ) -> Result<Result<Answer, NoAnswer>, Unsent> {
        let call = self.call_with(self.body(delivery, thread.map(|thread| thread.ts.as_str()))?);
        Ok(self.client.call(call).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::super::digest::tests::bounces;
    use super::super::super::sample::{built, sample};
    use super::super::strict::{Post, Strict, Watched};
    use super::*;
    use crate::destination::{Client, Destination, place_of};

    const TOKEN: &str = "xoxb-canary-of-an-app";
    const SECTION: &str = "{ token: @, channel: \"#email\", thread_by: [campaign.name] }";

    fn slack(section: &str, client: &Client) -> Arc<dyn Destination> {
        built("slack", &section.replace('@', TOKEN), "", client).unwrap_or_else(|told| panic!("{told:?}"))
    }

    /// A Slack whose answers can be lost, and a destination there.
    struct Scene {
        watched: Watched,
        loses_answers: Arc<AtomicBool>,
        slack: Arc<dyn Destination>,
        memo: Memo,
    }

    impl Scene {
        fn new() -> Self {
            Self::of(Strict::hurried())
        }

        fn of(strict: Strict) -> Self {
            let watched = Watched::new(strict.with_app(TOKEN, &["#email", "#shop"]));
            let loses_answers = Arc::<AtomicBool>::default();
            let slack = slack(SECTION, &watched.client_that_loses(loses_answers.clone()));
            Self { watched, loses_answers, slack, memo: None }
        }

        async fn attempt(&mut self, delivery: &Delivery) -> Outcome {
            self.slack.memory().expect("it has threads").attempt(delivery, &mut self.memo).await
        }

        /// The answer to one more is lost.
        async fn lose_one(&mut self) {
            self.loses_answers.store(true, Ordering::Relaxed);
            let timeout = std::time::Duration::from_secs(10);
            tokio::time::timeout(timeout, self.attempt(&event("Spring"))).await.expect_err("nothing comes");
            self.loses_answers.store(false, Ordering::Relaxed);
        }

        /// One more that must be posted.
        async fn post(&mut self) -> Post {
            assert_eq!(self.attempt(&event("Spring")).await, Outcome::Delivered);
            self.last()
        }

        fn last(&self) -> Post {
            self.watched.lock().posts().last().expect("one was posted").clone()
        }
    }

    fn event(campaign: &str) -> Delivery {
        let body =
            format!(r#"{{"type":"bounced","user":{{"email":"ann@example.com"}},"campaign":{{"name":"{campaign}"}}}}"#);
        sample(body, 1_700_000_000_000)
    }

    #[tokio::test]
    async fn the_first_begins_a_thread_and_all_others_stand_below_it() {
        let mut scene = Scene::new();
        let first = scene.post().await;
        assert_eq!(first.thread, None);
        for delivery in [event("Spring"), bounces(20, 3), event("Spring")] {
            assert_eq!(scene.attempt(&delivery).await, Outcome::Delivered);
            assert_eq!(scene.last().thread.as_ref(), Some(&first.ts), "below the first, and never below an answer");
        }
        scene.memo = None;
        assert_eq!(scene.post().await.thread, None, "what is not known begins anew");
    }

    #[tokio::test]
    async fn below_what_was_deleted_nothing_goes_and_a_new_thread_begins() {
        for word in [None, Some("thread_not_found")] {
            let mut scene = Scene::new();
            let first = scene.post().await;
            word.into_iter().for_each(|word| scene.watched.lock().ask_for(word));
            scene.watched.lock().delete(&first.ts);
            let second = scene.post().await;
            assert_eq!(second.thread, None);
            assert_eq!(scene.post().await.thread, Some(second.ts), "{word:?}");
            assert_eq!(scene.watched.lock().posts().len(), 3, "each was posted once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_makes_a_message_twice_and_no_second_thread_that_goes_on() {
        let mut scene = Scene::new();
        scene.lose_one().await;
        let first = scene.post().await;
        scene.lose_one().await;
        assert_eq!(scene.post().await.thread, Some(first.ts.clone()));
        let threads: Vec<_> = scene.watched.lock().posts().iter().map(|post| post.thread.clone()).collect();
        assert_eq!(threads, [None, None, Some(first.ts.clone()), Some(first.ts)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_leaves_the_thread_as_it_was() {
        let mut scene = Scene::of(Strict::new());
        let first = scene.post().await;
        let known = scene.memo.clone();
        scene.watched.lock().ask_for("ratelimited");
        scene.post().await;
        let outcome = scene.attempt(&event("Spring")).await;
        assert!(matches!(outcome, Outcome::Retry { holds_all: true, .. }), "{outcome:?}");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        for (section, word) in [
            (SECTION.replace('@', "xoxb-another"), "invalid_auth"),
            (SECTION.replace("#email", "#archived"), "is_archived"),
        ] {
            scene.watched.lock().ask_for(word);
            let other = slack(&section, &scene.watched.client());
            let outcome = other.memory().expect("threads").attempt(&event("Spring"), &mut scene.memo).await;
            assert_eq!(outcome.name(), "pause", "{word}");
        }
        assert_eq!(scene.memo, known);
        assert_eq!(scene.post().await.thread, Some(first.ts));
    }

    #[tokio::test]
    async fn after_a_day_another_thread_begins() {
        let mut scene = Scene::new();
        let first = scene.post().await;
        let at = |ago_ms: u64| Thread { ts: first.ts.clone(), began_ms: crate::time::wall_ms() - ago_ms }.memo();
        let lives_ms = threads::LIVES.as_millis() as u64;
        scene.memo = at(lives_ms - 60_000);
        assert_eq!(scene.post().await.thread.as_ref(), Some(&first.ts));
        scene.memo = at(lives_ms);
        let second = scene.post().await;
        assert_eq!(second.thread, None);
        assert_eq!(scene.post().await.thread, Some(second.ts));
    }

    #[tokio::test]
    async fn each_thread_has_a_key_of_its_own_and_no_digest_has_two_of_them() {
        let scene = Scene::new();
        let key = |delivery: &Delivery| scene.slack.memory().expect("threads").key(delivery);
        let address = |delivery: &Delivery| place_of(&*scene.slack, delivery);
        let [spring, autumn] = ["Spring", "Autumn"].map(event);
        let none = sample(r#"{"type":"user_created"}"#, 1_700_000_000_000);
        assert!(key(&spring).is_some() && key(&spring) != key(&autumn) && key(&none).is_none());
        assert!(address(&spring).is_some() && address(&spring) != address(&autumn) && address(&none).is_none());
        let chosen =
            "{ token: @, channel: \"#{{ type }}\", channels: [\"#email\", \"#shop\"], thread_by: [campaign.name] }";
        let chosen = slack(chosen, &scene.watched.client());
        let of =
            |kind: &str| sample(format!(r#"{{"type":"{kind}","campaign":{{"name":"Spring"}}}}"#), 1_700_000_000_000);
        let key = |kind: &str| chosen.memory().expect("threads").key(&of(kind));
        assert!(key("email").is_some() && key("email") != key("shop"), "a thread lies in one channel");
        assert_eq!(key("nowhere"), None);
        let plain = slack("{ token: @, channel: \"#email\" }", &scene.watched.client());
        assert!(plain.memory().is_none() && place_of(&*plain, &spring).is_none());
    }

    #[tokio::test]
    async fn what_was_put_together_of_several_threads_belongs_to_none_of_them() {
        let of_one = bounces(20, 3);
        let digest = of_one.digest.as_deref().expect("a digest").clone();
        let of_several = Delivery {
            digest: Some(Arc::new(crate::destination::Digest { address: None, ..digest })),
            ..of_one.clone()
        };
        for mut scene in [Scene::new(), Scene::counting(Strict::hurried())] {
            let memory = scene.slack.memory().expect("it has threads");
            assert!(memory.key(&of_one).is_some() && memory.place(&of_one).is_some());
            assert!(memory.key(&of_several).is_none() && memory.place(&of_several).is_none());
            assert_eq!(scene.attempt(&of_several).await, Outcome::Delivered);
            let text = scene.last().message["text"].clone();
            assert!(text.as_str().is_some_and(|text| text.starts_with("*20 × bounced")), "as it is: {text}");
        }
    }

    #[tokio::test]
    async fn a_preview_says_where_it_goes_and_of_what_is_urgent_that_it_stands_by_itself() {
        let scene = Scene::counting(Strict::hurried());
        let threads = slack(SECTION, &scene.watched.client());
        let told = |slack: &dyn Destination, is_urgent| {
            let preview = crate::destination::preview(slack, &event("Spring"), is_urgent).expect("renders");
            let fact = |name| preview.fact(name).map(str::to_owned);
            (preview.title.clone(), fact("thread").or(fact("counter")))
        };
        let post = "POST https://slack.com/…";
        let name = Some("campaign.name Spring".to_owned());
        let expected = (format!("{post}, into the thread of campaign.name Spring"), name.clone());
        assert_eq!(told(&*threads, false), expected);
        let expected = (
            format!("{post}, or an edit of the message that counts campaign.name Spring: its number goes up by 1"),
            name,
        );
        assert_eq!(told(&*scene.slack, false), expected);
        for slack in [&threads, &scene.slack] {
            assert_eq!(told(&**slack, true), (post.to_owned(), None));
        }
    }

    #[tokio::test]
    async fn all_counters_of_an_app_share_one_rate_and_threads_have_that_of_their_channel() {
        let scene = Scene::new();
        let key = |section: &str| slack(section, &scene.watched.client()).rate_limit_key();
        let [email, shop] = ["#email", "#shop"].map(|channel| COUNTS.replace("#email", channel));
        assert_eq!(key(&email), key(&shop));
        assert_ne!(key(&email), key(&email.replace('@', "xoxb-another")));
        assert_ne!(key(SECTION), key(&SECTION.replace("#email", "#shop")));
    }

    const COUNTS: &str = "{ token: @, channel: \"#email\", thread_by: [campaign.name], update: true }";

    impl Scene {
        fn counting(strict: Strict) -> Self {
            let mut scene = Self::of(strict);
            scene.slack = slack(COUNTS, &scene.watched.client_that_loses(scene.loses_answers.clone()));
            scene
        }

        /// What the messages in the channel say: how many events, and how often each was edited.
        fn counts(&self) -> Vec<(u64, u64)> {
            let count = |post: &Post| {
                let text = post.message["text"].as_str().unwrap_or_default().trim_start_matches('*').to_owned();
                let count = text.split_once(" ×").and_then(|(count, _)| count.parse().ok());
                (count.unwrap_or(1), post.edits)
            };
            self.watched.lock().posts().iter().map(count).collect()
        }

        async fn count(&mut self, number: u64) -> Outcome {
            self.attempt(&numbered("Spring", number)).await
        }
    }

    fn numbered(campaign: &str, number: u64) -> Delivery {
        let mut delivery = event(campaign);
        let event = Arc::make_mut(&mut delivery.event);
        event.id = crate::event::EventId::mint(event.received_ms, 0, number);
        delivery
    }

    #[tokio::test]
    async fn one_message_counts_events_and_digests_and_is_edited_in_place() {
        let mut scene = Scene::counting(Strict::hurried());
        assert_eq!(scene.count(1).await, Outcome::Delivered);
        let alone = scene.last().message["text"].clone();
        assert!(alone.as_str().is_some_and(|text| text.contains("ann@example.com") && !text.contains('×')), "{alone}");
        assert_eq!(scene.count(2).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(2, 1)]);
        assert_eq!(scene.attempt(&bounces(20, 3)).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(22, 2)]);
        let text = scene.last().message["text"].as_str().expect("a text").to_owned();
        assert!(text.contains("Spring") && text.contains("and 19 more"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_whose_answer_was_lost_is_made_again_with_the_same_number() {
        let mut scene = Scene::counting(Strict::hurried());
        let lose = |scene: &Scene, loses: bool| scene.loses_answers.store(loses, Ordering::Relaxed);
        assert_eq!(scene.count(1).await, Outcome::Delivered);
        lose(&scene, true);
        let timeout = std::time::Duration::from_secs(10);
        tokio::time::timeout(timeout, scene.count(2)).await.expect_err("nothing comes");
        lose(&scene, false);
        assert_eq!(scene.counts(), [(2, 1)]);
        assert_eq!(scene.count(3).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(2, 2)], "the one that is not known to have been told is counted when it is");
        assert_eq!(scene.count(2).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(3, 3)]);
        // The process has ended before that was known.
        for number in [2, 3] {
            assert_eq!(scene.count(number).await, Outcome::Delivered);
        }
        assert_eq!(scene.counts(), [(3, 3)]);
    }

    #[tokio::test]
    async fn where_the_message_is_edited_no_more_another_one_goes_on_with_the_number() {
        for word in ["message_not_found", "edit_window_closed"] {
            let mut scene = Scene::counting(Strict::hurried());
            for number in 1..3 {
                assert_eq!(scene.count(number).await, Outcome::Delivered);
            }
            let first = scene.last();
            scene.watched.lock().ask_for(word);
            if word == "message_not_found" {
                scene.watched.lock().delete(&first.ts);
            }
            assert_eq!(scene.count(3).await, Outcome::Delivered);
            assert_eq!(scene.counts(), [(2, 1), (3, 0)], "{word}");
        }
    }

    #[tokio::test]
    async fn where_its_channel_was_made_anew_the_message_goes_on_there() {
        let mut scene = Scene::counting(Strict::hurried());
        assert_eq!(scene.count(1).await, Outcome::Delivered);
        scene.watched.lock().ask_for("channel_not_found");
        let memo = scene.memo.take().expect("known");
        let gone = memo.split(' ').map(|part| if part.starts_with('C') { "CGONE" } else { part });
        scene.memo = Some(gone.collect::<Vec<_>>().join(" "));
        assert_eq!(scene.count(2).await, Outcome::Delivered);
        assert_eq!(scene.count(3).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(1, 0), (3, 1)]);
        let slack = slack(&COUNTS.replace("#email", "#none"), &scene.watched.client());
        scene.memo = scene.memo.map(|memo| memo.replace(" C", " CGONE"));
        let gone = scene.memo.clone();
        let outcome = slack.memory().expect("it counts").attempt(&numbered("Spring", 4), &mut scene.memo).await;
        assert_eq!((outcome.name(), &scene.memo), ("pause", &gone), "there is none of that name");
    }

    #[tokio::test]
    async fn it_tells_of_what_its_thread_is_one_of_from_the_first_digest_on() {
        let mut scene = Scene::new();
        let section = COUNTS.replace('@', TOKEN);
        let digest = "{ by: [type], text: \"{{ digest.count }} of {{ campaign.name }}\" }";
        let text = |scene: &Scene| scene.last().message["text"].clone();
        for (digest, [begun, edited]) in
            [(digest, ["20 of Spring", "21 of Spring"]), ("{ by: [type] }", ["*20 × Spring ", "*21 × Spring*"])]
        {
            let built = built("slack", &section, digest, &scene.watched.client());
            scene.slack = built.unwrap_or_else(|told| panic!("{told:?}"));
            scene.memo = None;
            let bounces = bounces(20, 3);
            let shown = scene.slack.preview(&bounces).expect("renders").shown_content();
            assert_eq!(scene.attempt(&bounces).await, Outcome::Delivered);
            assert!(text(&scene).as_str().is_some_and(|text| text.starts_with(begun)), "{}", text(&scene));
            assert!(shown.contains(begun), "{shown}");
            assert_eq!(scene.count(1).await, Outcome::Delivered);
            assert!(text(&scene).as_str().is_some_and(|text| text.starts_with(edited)), "{}", text(&scene));
        }
    }

    #[tokio::test]
    async fn what_belongs_to_no_counter_is_told_as_without_one() {
        let mut scene = Scene::counting(Strict::hurried());
        let values = [("type".to_owned(), "user_created".to_owned())].to_vec();
        let event = sample(r#"{"type":"user_created"}"#, 1_700_000_000_000);
        let group = crate::destination::Group {
            values,
            ..bounces(2, 1).digest.as_deref().expect("a digest").groups[0].clone()
        };
        let digest = bounces(2, 1).digest.as_deref().expect("a digest").clone();
        let digest = crate::destination::Digest { groups: vec![group], events: vec![event.clone()], ..digest };
        let delivery = Delivery { digest: Some(Arc::new(digest)), ..event };
        assert_eq!(scene.attempt(&delivery).await, Outcome::Delivered);
        let text = scene.last().message["text"].clone();
        assert!(text.as_str().is_some_and(|text| text.starts_with("*2 × user_created*")), "{text}");
    }

    #[tokio::test]
    async fn what_its_own_text_leaves_out_is_not_counted() {
        let scene = Scene::new();
        let section = COUNTS.replace("update", "text: \"{% if bounce_type == 'hard' %}{{ type }}{% endif %}\", update");
        let slack = slack(&section, &scene.watched.client());
        let mut memo = None;
        for (number, bounce_type) in [(1, "soft"), (2, "hard"), (3, "soft"), (4, "hard")] {
            let mut delivery = numbered("Spring", number);
            let body = format!(r#"{{"type":"bounced","bounce_type":"{bounce_type}","campaign":{{"name":"Spring"}}}}"#);
            Arc::make_mut(&mut delivery.event).body = body.into();
            let outcome = slack.memory().expect("it counts").attempt(&delivery, &mut memo).await;
            assert_eq!(outcome.name(), if bounce_type == "hard" { "delivered" } else { "skipped" }, "{number}");
        }
        assert_eq!(scene.counts(), [(2, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_edited_for_now_leaves_the_number_as_it_was() {
        let mut scene = Scene::counting(Strict::new());
        for number in 1..4 {
            assert_eq!(scene.count(number).await, Outcome::Delivered);
        }
        scene.watched.lock().ask_for("ratelimited");
        let outcome = scene.count(4).await;
        assert!(matches!(outcome, Outcome::Retry { holds_all: true, .. }), "{outcome:?}");
        scene.watched.lock().ask_for("invalid_auth");
        let other = slack(&COUNTS.replace('@', "xoxb-another"), &scene.watched.client());
        let outcome = other.memory().expect("it counts").attempt(&numbered("Spring", 4), &mut scene.memo).await;
        assert_eq!(outcome.name(), "pause");
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!(scene.count(4).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(4, 3)]);
    }

    #[tokio::test]
    async fn another_day_has_another_counter() {
        let mut scene = Scene::counting(Strict::hurried());
        assert!(scene.slack.interval_min().is_some_and(|apart| apart.as_millis() * 50 >= 60_000));
        assert_eq!(scene.count(1).await, Outcome::Delivered);
        let memo = scene.memo.clone().expect("known");
        let mut parts: Vec<_> = memo.split(' ').map(str::to_owned).collect();
        parts[1] = (crate::time::wall_ms() - threads::LIVES.as_millis() as u64).to_string();
        scene.memo = Some(parts.join(" "));
        assert_eq!(scene.count(2).await, Outcome::Delivered);
        assert_eq!(scene.counts(), [(1, 0), (1, 0)]);
        // By threads nothing is counted, and the other way round.
        scene.slack = slack(SECTION, &scene.watched.client());
        assert_eq!(scene.post().await.thread, None);
        scene.slack = slack(COUNTS, &scene.watched.client());
        assert_eq!(scene.count(3).await, Outcome::Delivered);
        assert_eq!(scene.counts().len(), 4);
    }

    #[tokio::test]
    async fn by_a_digest_its_groups_are_what_one_message_counts() {
        let scene = Scene::new();
        let of = |digest: &str| {
            let section = "{ token: xoxb-1, channel: \"#email\", update: true }";
            built("slack", section, digest, &scene.watched.client())
        };
        let key = |digest: &str, delivery: &Delivery| {
            let slack = of(digest).unwrap_or_else(|told| panic!("{told:?}"));
            slack.memory().expect("it counts").key(delivery)
        };
        let [spring, autumn] = ["Spring", "Autumn"].map(event);
        let other = sample(r#"{"type":"user_created"}"#, 1_700_000_000_000);
        for (digest, same, apart) in [("{}", &autumn, &other), ("{ by: [campaign.name] }", &spring, &autumn)] {
            assert!(key(digest, &spring).is_some() && key(digest, &spring) == key(digest, same), "{digest}");
            assert_ne!(key(digest, &spring), key(digest, apart), "{digest}");
        }
        assert!(key("{ by: [campaign.name] }", &other).is_some(), "what has none is a group as well");
        assert!(key("{ by: [] }", &spring).is_some() && key("{ by: [] }", &spring) == key("{ by: [] }", &other));
        assert!(of("").is_err_and(|told| told[0].0.contains("nothing says what does")));
    }

    #[tokio::test]
    async fn the_blocks_of_an_edit_take_the_place_of_those_before() {
        let scene = Scene::new();
        let block = |text: &str| format!("[ {{ type: section, text: {{ type: mrkdwn, text: \"{text}\" }} }} ]");
        let section = format!(
            "{{ token: {TOKEN}, channel: \"#email\", thread_by: [campaign.name], update: true, blocks: {} }}",
            block("{{ type }}")
        );
        for (digest, has_blocks) in [("", false), ("{ blocks: @ }", true)] {
            let digest = digest.replace('@', &block("{{ digest.count }} of them"));
            let slack =
                built("slack", &section, &digest, &scene.watched.client()).unwrap_or_else(|told| panic!("{told:?}"));
            let mut memo = None;
            for number in 1..3 {
                let attempt = slack.memory().expect("it counts").attempt(&numbered("Spring", number), &mut memo).await;
                assert_eq!(attempt, Outcome::Delivered);
            }
            let message = scene.last().message;
            let blocks = message["blocks"].as_array().expect("blocks");
            assert_eq!((scene.last().edits, !blocks.is_empty()), (1, has_blocks), "{message}");
            let shown = message.to_string();
            assert!(shown.contains("2 of them") || shown.contains("2 × "), "{shown}");
        }
    }
}
