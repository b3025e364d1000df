//! The names of a config: their numbers, which are given once for all relays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_postgres::Row;

use super::names::{NAMES, kind_of, kind_text};
use super::running::Postgres;
use crate::store::locks::{reading, writing};
use crate::store::queues::{Act, Backing, Urgency};
use crate::store::{Command, Interned, NameId, NameKind, Named, StoreError, TakenFrom, TakenOver, What};

impl Postgres {
    /// Numbers the names of a config.
    pub async fn intern(self: &Arc<Self>, named: &[Named]) -> Result<Interned, StoreError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        self.learn_names().await?;
        let mut taken_over = Vec::new();
        for destination in named.iter().filter(|named| named.kind == NameKind::Destination) {
            taken_over.extend(self.take_over_old_name(named, destination).await?);
        }
        let known = reading(&self.names).shown();
        if named.iter().any(|named| known.find(named.kind, &named.name).is_none()) {
            self.number(named).await?;
        }
        let known = reading(&self.names).shown();
        let number = |named: &Named| {
            let missing = || StoreError::Unavailable(format!("the name `{}` got no number", named.name));
            known.find(named.kind, &named.name).ok_or_else(missing)
        };
        let ids = named.iter().map(number).collect::<Result<_, _>>()?;
        Ok(Interned { ids, taken_over })
    }

    /// A destination takes over what its old name has: by giving its number the new name, or, where that has a number already, by
    /// moving everything there.
    async fn take_over_old_name(
        self: &Arc<Self>,
        all: &[Named],
        destination: &Named,
    ) -> Result<Option<TakenFrom>, StoreError> {
        let kind = NameKind::Destination;
        let names = reading(&self.names).shown();
        let is_named = |name: &str| all.iter().any(|other| other.kind == kind && other.name == name);
        let is_free = |id: &NameId| names.of(*id).is_some_and(|(_, name)| !is_named(name));
        let Some(old) = &destination.renamed_from else { return Ok(None) };
        let from = names.find(kind, old).filter(is_free).or_else(|| names.former(kind, old).filter(is_free));
        let Some(from) = from else { return Ok(None) };
        let (name, old) = (destination.name.clone(), names.name(from).to_string());
        let own = names.find(kind, &name);
        let Some(own) = own.filter(|own| *own != from) else {
            let number = from.0.cast_signed();
            let sql = "WITH mine AS MATERIALIZED (SELECT 1 FROM meta FOR UPDATE), renamed AS (
                    UPDATE name SET name = $2, changed = nextval('name_changed') FROM mine WHERE id = $1 AND name = $3
                    AND NOT EXISTS (SELECT 1 FROM name WHERE kind = 'destination' AND name = $2) RETURNING id),
                 again AS (DELETE FROM former_name WHERE kind = 'destination' AND name = $2)
                INSERT INTO former_name (kind, name, id, changed) SELECT 'destination', $3, id, nextval('name_changed') FROM renamed
                ON CONFLICT (kind, name) DO UPDATE SET id = excluded.id, changed = excluded.changed RETURNING 1";
            let renamed = self.asker.rows(sql, &[&number, &name, &old]).await?;
            self.learn_names().await?;
            if renamed.is_empty() {
                return Ok(None);
            }
            tracing::info!(destination = %name, from = %old, "it was renamed, and keeps its queue");
            return Ok(Some(TakenFrom { name, from: old, moved: None }));
        };
        let asked = Command::once(from, What::TakeOver { to: own });
        let moved = match self.clone().ask(asked).await {
            Ok(done) => done.taken_over.unwrap_or_default(),
            Err(StoreError::Unavailable(why)) => {
                // It is asked for again by who looks after old names, and nothing waits for it here.
                tracing::info!(destination = %name, from = %old, why, "what its old name has is moved later");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is_nothing = moved == TakenOver { in_flight: moved.in_flight, ..TakenOver::default() };
        Ok((!is_nothing).then_some(TakenFrom { name, from: old, moved: Some(moved) }))
    }

    /// Hears of the names that others have numbered.
    pub async fn learn_names(&self) -> Result<(), StoreError> {
        let changed = reading(&self.names).changed;
        let rows = self.asker.rows(NAMES, &[&changed]).await?;
        self.saw_names(&rows);
        Ok(())
    }

    /// These names are known from here on.
    pub fn saw_names(&self, rows: &[Row]) {
        let mut names = writing(&self.names);
        for row in rows {
            let id = NameId(row.get::<_, i32>("id").cast_unsigned());
            if let Some(kind) = kind_of(row.get("kind")) {
                let name = row.get::<_, &str>("name").into();
                if row.get("is_former") { names.insert_former(kind, name, id) } else { names.insert(kind, id, name) }
            }
            names.changed = names.changed.max(row.get("changed"));
        }
    }

    async fn number(&self, named: &[Named]) -> Result<(), StoreError> {
        let kinds: Vec<&str> = named.iter().map(|named| kind_text(named.kind)).collect();
        let names: Vec<&str> = named.iter().map(|named| named.name.as_str()).collect();
        // In one order, so that no two relays wait for each other. A number is never given twice, and some are never given.
        // One relay after the other, so that whoever has seen a change has seen all before it.
        let sql = "WITH mine AS MATERIALIZED (SELECT 1 FROM meta FOR UPDATE)
            INSERT INTO name (kind, name, changed)
            SELECT u.kind, u.name, nextval('name_changed') FROM mine CROSS JOIN unnest($1::text[], $2::text[]) u (kind, name)
            WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.kind = u.kind AND n.name = u.name)
            GROUP BY u.kind, u.name ORDER BY u.kind, u.name ON CONFLICT DO NOTHING";
        self.asker.rows(sql, &[&kinds, &names]).await?;
        // So that somebody has their leases, whoever wants them.
        let sql = "INSERT INTO lease (duty, epoch, incarnation)
            SELECT 'destination/' || n.id, 1, NULL FROM unnest($1::text[], $2::text[]) u (kind, name)
            JOIN name n ON n.kind = u.kind AND n.name = u.name WHERE n.kind = 'destination'
            ORDER BY n.id ON CONFLICT DO NOTHING";
        self.asker.rows(sql, &[&kinds, &names]).await?;
        let sql = "SELECT n.id, n.kind, n.name FROM unnest($1::text[], $2::text[]) u (kind, name)
            JOIN name n ON n.kind = u.kind AND n.name = u.name";
        let rows = self.asker.rows(sql, &[&kinds, &names]).await?;
        let mut known = writing(&self.names);
        for row in &rows {
            if let Some(kind) = kind_of(row.get(1)) {
                known.insert(kind, NameId(row.get::<_, i32>(0).cast_unsigned()), row.get::<_, &str>(2).into());
            }
        }
        Ok(())
    }

    /// Goes by the names of a config from now on.
    pub fn announce(&self, _generation: u32, ids: &[NameId]) {
        writing(&self.names).in_force = Some(ids.to_vec());
        let owned: Vec<NameId> = reading(&self.owned).keys().copied().collect();
        owned.into_iter().for_each(|id| self.go_by_announced(id));
        self.hurry.notify_one();
    }

    /// A destination of this relay is removed where the config in force does not name it.
    pub fn go_by_announced(&self, id: NameId) {
        let names = reading(&self.names);
        let Some(in_force) = &names.in_force else { return };
        let act = if in_force.contains(&id) { Act::Restore } else { Act::Remove };
        let is_destination = names.shown().of(id).is_some_and(|(kind, _)| *kind == NameKind::Destination);
        drop(names);
        if is_destination && self.owns(id) {
            self.control(id, act, Urgency::Now);
        }
    }
}
