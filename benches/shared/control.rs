//! A queue in a database as it is usually kept: a row for each delivery, claimed by `FOR UPDATE SKIP LOCKED`. Without HTTP, rules or retries:
//! what the database spends on it is all that is compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::IN_FLIGHT;
use crate::fleet::Row;
use crate::postgres::Server;

/// Workers that claim.
const WORKERS: usize = 4;
/// Rows that each claims at once.
const CLAIMED: i64 = 16;

/// Takes in and delivers so many events.
pub async fn run(server: &Server, events: u64) -> Row {
    server
        .query(
            "CREATE SCHEMA control; CREATE TABLE control.queue (id bigserial PRIMARY KEY, body bytea NOT NULL, status text NOT NULL DEFAULT 'pending',
             due timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON control.queue (due) WHERE status = 'pending'",
        )
        .await;
    let before = server.cpu_seconds();
    let begun = Instant::now();
    let left = Arc::new(AtomicU64::new(events));
    let settled = Arc::new(AtomicU64::new(0));
    let planned = events + events * 38 / 100;
    let mut tasks = Vec::new();
    let mut acks = Vec::new();
    let mut taking = Vec::new();
    for _ in 0..IN_FLIGHT {
        let (client, left) = (connected(server).await, left.clone());
        taking.push(tokio::spawn(async move {
            let one = client.prepare("INSERT INTO control.queue (body) VALUES ($1)").await.expect("prepared");
            let two = client.prepare("INSERT INTO control.queue (body) VALUES ($1), ($1)").await.expect("prepared");
            let body = vec![b'x'; 600];
            let mut acks_us = Vec::new();
            while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
                let sent = Instant::now();
                let statement = if number % 100 < 38 { &two } else { &one };
                client.execute(statement, &[&body]).await.expect("taken");
                acks_us.push(sent.elapsed().as_micros() as u32);
            }
            acks_us
        }));
    }
    for _ in 0..WORKERS {
        let (client, settled) = (connected(server).await, settled.clone());
        tasks.push(tokio::spawn(async move {
            let claim = client
                .prepare(
                    "UPDATE control.queue SET status = 'claimed' WHERE id IN (SELECT id FROM control.queue WHERE status = 'pending' AND due <= now()
                     ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, body",
                )
                .await
                .expect("prepared");
            let done = client.prepare("UPDATE control.queue SET status = 'done' WHERE id = ANY($1)").await.expect("prepared");
            while settled.load(Ordering::Relaxed) < planned {
                let rows = client.query(&claim, &[&CLAIMED]).await.expect("claimed");
                if rows.is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                client.execute(&done, &[&ids]).await.expect("settled");
                settled.fetch_add(ids.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    for one in taking {
        acks.extend(one.await.expect("it takes in"));
    }
    let planned_by_now = server.value("SELECT count(*) FROM control.queue").await;
    let planned_by_now: u64 = planned_by_now.parse().expect("a number");
    while settled.load(Ordering::Relaxed) < planned_by_now {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    tasks.into_iter().for_each(|task| task.abort());
    acks.sort_unstable();
    Row {
        name: "for scale: rows claimed by SKIP LOCKED, without HTTP".to_owned(),
        events_per_s: events as f64 / seconds,
        server_us: Some((server.cpu_seconds() - before) * 1e6 / events as f64),
        relays_us: 0.0,
        ack_ms: [0.5, 0.99].map(|q| crate::measure::quantile(&acks, q)),
        end_to_end_ms: [0.0; 2],
        hot: None,
    }
}

async fn connected(server: &Server) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the server answers");
    tokio::spawn(connection);
    client
}
