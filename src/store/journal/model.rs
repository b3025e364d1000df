//! A disk in memory that fails on demand and forgets what was not synced: for tests and simulations of the journal.
//!
//! What it models: a file's bytes are durable after `sync`, a name after `sync_names`, and a power cut keeps any part of the rest,
//! chosen by the caller, write by write and torn within a write.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::disk::{Disk, DiskFile, Space};

/// The disk. A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub struct ModelDisk {
    state: Arc<Mutex<State>>,
    hook: Arc<RwLock<Option<Hook>>>,
}

/// Something that the disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file is made.
    Create,
    /// A file is read.
    Read,
    /// A file is written.
    Write,
    /// A file is synced.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// The names are synced.
    SyncNames,
    /// The file system says how much room it has.
    Space,
}

/// Called before what it is told of is done, by who asked for it; it may wait, or panic.
#[derive(Clone)]
struct Hook(Arc<dyn Fn(Call) + Send + Sync>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    files: Vec<Content>,
    faults: Faults,
}

#[derive(Debug, Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    /// It was changed otherwise than by writes since the last sync.
    is_reshaped: bool,
    /// How many have it open.
    handles: usize,
    /// It has no name, nor would it have one after a power cut.
    is_gone: bool,
}

impl Content {
    /// Gives back what nobody can read any more.
    fn go(&mut self) {
        if self.is_gone {
            (self.synced, self.unsynced) = (Vec::new(), Vec::new());
            if self.handles == 0 {
                self.bytes = Vec::new();
            }
        }
    }

    fn sync(&mut self) {
        if std::mem::take(&mut self.is_reshaped) {
            self.synced.clone_from(&self.bytes);
            self.unsynced.clear();
        }
        // A segment is large and what is synced at once is little.
        for (offset, write) in self.unsynced.drain(..) {
            put(&mut self.synced, &write, offset);
        }
    }
}

/// What goes wrong from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub sync_fails: bool,
    /// Syncs say they worked and do nothing: the control that shows a test can see a loss.
    pub sync_lies: bool,
    /// Every write fails as if the device were broken.
    pub write_breaks: bool,
    pub rename_fails: bool,
    /// No more than this many bytes in all files together; a write beyond it fails after as much as fits.
    pub capacity: Option<u64>,
    /// What the file system says of its room.
    pub space: Option<Space>,
}

impl State {
    /// Bytes in all files that have a name.
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].bytes.len() as u64).sum()
    }
}

impl ModelDisk {
    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Calls this before everything that the disk is asked to do from now on.
    pub fn before_each_call(&self, hook: impl Fn(Call) + Send + Sync + 'static) {
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = Some(Hook(Arc::new(hook)));
    }

    fn called(&self, call: Call) {
        let hook = self.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Hook(hook)) = hook {
            hook(call);
        }
    }

    /// What a power cut leaves: everything synced, and of each later write as many bytes as `keep(length)` says.
    pub fn after_power_cut(&self, keep: impl FnMut(usize) -> usize) -> ModelDisk {
        let names = self.lock().synced_names.clone();
        self.cut(names, keep)
    }

    /// The same where all names happen to be on the disk already.
    pub fn after_power_cut_with_names(&self, keep: impl FnMut(usize) -> usize) -> ModelDisk {
        let names = self.lock().names.clone();
        self.cut(names, keep)
    }

    /// All bytes that would be there after a power cut, whatever it kept.
    pub fn durable(&self) -> Vec<Vec<u8>> {
        let state = self.lock();
        let of = |file: &Content| {
            std::iter::once(file.synced.clone())
                .chain(file.unsynced.iter().map(|(_, write)| write.clone()))
                .collect::<Vec<_>>()
        };
        let named = state.synced_names.values().chain(state.names.values());
        named.flat_map(|file| of(&state.files[*file])).collect()
    }

    fn cut(&self, names: BTreeMap<String, usize>, mut keep: impl FnMut(usize) -> usize) -> ModelDisk {
        let state = self.lock();
        let files = state.files.iter().map(|file| {
            let mut bytes = file.synced.clone();
            for (offset, write) in &file.unsynced {
                let kept = &write[..keep(write.len()).min(write.len())];
                put(&mut bytes, kept, *offset);
            }
            Content { synced: bytes.clone(), bytes, ..Content::default() }
        });
        let files = files.collect();
        let state = State { synced_names: names.clone(), names, files, faults: Faults::default() };
        ModelDisk { state: Arc::new(Mutex::new(state)), hook: Arc::default() }
    }

    /// The bytes of a file, and a way to change them.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let at = state.names[name];
        change(&mut state.files[at].bytes);
        state.files[at].synced = state.files[at].bytes.clone();
        state.files[at].is_reshaped = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(bytes: &mut Vec<u8>, write: &[u8], offset: u64) {
    let end = offset as usize + write.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(write);
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for ModelDisk {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.called(Call::Create);
        let mut state = self.lock();
        let used = state.used();
        if state.faults.capacity.is_some_and(|capacity| used + bytes > capacity) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let file = state.files.len();
        // Two of them, of which the system gives no page before it is written to; a copy has all of them.
        let synced = vec![0; bytes as usize];
        let bytes = vec![0; bytes as usize];
        state.files.push(Content { synced, bytes, handles: 1, ..Content::default() });
        state.names.insert(name.to_owned(), file);
        Ok(Arc::new(ModelFile { disk: self.clone(), file }))
    }

    fn create_aside(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.create(name, bytes)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let file = *state.names.get(name).ok_or_else(not_found)?;
        state.files[file].handles += 1;
        drop(state);
        Ok(Arc::new(ModelFile { disk: self.clone(), file }))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.lock().names.contains_key(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.called(Call::Rename);
        let mut state = self.lock();
        if state.faults.rename_fails {
            return Err(io::Error::other("the model disk fails every rename"));
        }
        let file = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.called(Call::Remove);
        let mut state = self.lock();
        // Its bytes stay until the names are synced: a power cut before brings it back.
        state.names.remove(name).map(drop).ok_or_else(not_found)
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let file = *state.names.get(from).ok_or_else(not_found)?;
        let copy = Content { handles: 0, ..state.files[file].clone() };
        let at = state.files.len();
        state.files.push(copy);
        state.names.insert(to.to_owned(), at);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.called(Call::SyncNames);
        let mut state = self.lock();
        if state.faults.sync_fails {
            return Err(io::Error::other("the model disk fails every sync"));
        }
        let State { names, synced_names, files, .. } = &mut *state;
        let gone = synced_names.values().filter(|file| !names.values().any(|kept| kept == *file));
        // Who has it open reads on.
        gone.for_each(|file| files[*file].is_gone = true);
        files.iter_mut().for_each(Content::go);
        state.synced_names = state.names.clone();
        Ok(())
    }

    fn space(&self) -> Option<Space> {
        self.called(Call::Space);
        self.lock().faults.space
    }
}

struct ModelFile {
    disk: ModelDisk,
    file: usize,
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        let file = &mut self.disk.lock().files[self.file];
        file.handles -= 1;
        file.go();
    }
}

impl DiskFile for ModelFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.called(Call::Read);
        let state = self.disk.lock();
        let rest = state.files[self.file].bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.called(Call::Write);
        let mut state = self.disk.lock();
        if state.faults.write_breaks {
            return Err(io::Error::other("the model disk breaks every write"));
        }
        let used = state.used();
        let length = state.files[self.file].bytes.len() as u64;
        let grows = (offset + bytes.len() as u64).saturating_sub(length);
        let room = state.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used));
        let fits = bytes.len() as u64 - grows.saturating_sub(room);
        let written = &bytes[..fits as usize];
        let file = &mut state.files[self.file];
        put(&mut file.bytes, written, offset);
        file.unsynced.push((offset, written.to_vec()));
        if written.len() < bytes.len() { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.called(Call::Sync);
        let mut state = self.disk.lock();
        if state.faults.sync_fails {
            return Err(io::Error::other("the model disk fails every sync"));
        }
        if !state.faults.sync_lies {
            state.files[self.file].sync();
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let file = &mut self.disk.lock().files[self.file];
        file.bytes.resize(bytes as usize, 0);
        file.is_reshaped = true;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].bytes.len() as u64)
    }
}
