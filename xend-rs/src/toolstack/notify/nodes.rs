//! A guest's nodes in xenstore, and the event channel to it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use guest_notifier::protocol::GUEST_FOLDER;
use guest_notifier::{Bell, Store};

use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::event_channel::EventChannel;
use crate::hypervisor::xen::xenstore::{self, Nodes, Watcher, Xenstore};

/// The host's end of an event channel.
#[derive(Clone, Debug)]
pub(super) struct Channel(Arc<EventChannel>);

impl Channel {
    pub(super) fn new(channel: EventChannel) -> Self {
        Self(Arc::new(channel))
    }
}

impl Bell for Channel {
    fn port(&self) -> u32 {
        self.0.port().0
    }

    fn ring(&self) {
        // A guest without a driver for them never binds it.
        if let Err(error) = self.0.notify() {
            log::debug!("{}", error_line(&error));
        }
    }
}

/// Connections of its own: another thread may be waiting on those of the host.
#[derive(Debug)]
pub(super) struct GuestNodes {
    store: Xenstore,
    home: String,
    /// Once somebody has waited.
    watcher: Option<Watcher>,
    channel: Arc<OnceLock<Channel>>,
}

impl GuestNodes {
    pub(super) fn open(domid: Domid, channel: Arc<OnceLock<Channel>>) -> xenstore::Result<Self> {
        let home = format!("/local/domain/{}", domid.0);
        Ok(Self { store: Xenstore::open()?, home, watcher: None, channel })
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.home)
    }

    fn watch(&self) -> xenstore::Result<Watcher> {
        let mut watcher = Watcher::open()?;
        watcher.watch(&self.path(GUEST_FOLDER), "agent")?;
        Ok(watcher)
    }
}

impl Store for GuestNodes {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.store.read_bytes(&self.path(path)).map_err(io::Error::other)
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        // A guest that is gone must get no nodes: nobody would ever remove them.
        let written = self.store.transaction(|store| {
            if store.read_bytes(&self.home)?.is_some() {
                store.write(&self.path(path), value)?;
            }
            xenstore::Result::Ok(())
        });
        written.map_err(io::Error::other)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.store.remove(&self.path(path)).map_err(io::Error::other)
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if self.watcher.is_none() {
            self.watcher = Some(self.watch().map_err(io::Error::other)?);
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let channel = self.channel.get();
        let other = channel.map(|channel| channel.0.as_fd());
        watcher.sleep_with(other, timeout).map_err(io::Error::other)?;
        while watcher.next(Duration::ZERO).map_err(io::Error::other)?.is_some() {}
        if let Some(channel) = channel {
            channel.0.take_event().map_err(io::Error::other)?;
        }
        Ok(())
    }
}
