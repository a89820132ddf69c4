//! A xenstore in memory, for tests of both sides.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Bell, Store};

/// One guest's nodes. Clones see the same ones.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Changes that this clone has waited for.
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared {
    tree: Mutex<Tree>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<String, Vec<u8>>,
    changes: u64,
}

impl MemoryStore {
    /// Writes what no side would.
    pub fn write_bytes(&self, path: &str, value: &[u8]) {
        self.change(|nodes| nodes.insert(path.to_owned(), value.to_vec()));
    }

    /// A node's content as text, if it is there.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let value = self.lock().nodes.get(path).cloned()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// The guest has moved: its tree is a new one.
    pub fn clear(&self) {
        self.change(BTreeMap::clear);
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.shared.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) {
        let mut tree = self.lock();
        change(&mut tree.nodes);
        tree.changes += 1;
        self.shared.changed.notify_all();
    }
}

impl Store for MemoryStore {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().nodes.get(path).cloned())
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.write_bytes(path, value.as_bytes());
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let below = format!("{path}/");
        self.change(|nodes| nodes.retain(|name, _| name != path && !name.starts_with(&below)));
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let seen = self.seen;
        let tree = self.lock();
        let waited =
            self.shared.changed.wait_timeout_while(tree, timeout, |tree| tree.changes == seen);
        let changes = waited.unwrap_or_else(PoisonError::into_inner).0.changes;
        self.seen = changes;
        Ok(())
    }
}

/// A bell that nobody hears: everything must work without.
#[derive(Clone, Copy, Debug)]
pub struct NoBell;

impl Bell for NoBell {
    fn port(&self) -> u32 {
        0
    }

    fn ring(&self) {}
}
