//! Listening sockets: opened once, accepted from by one thread, stopped and ended from another.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fchown, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_keepalive, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, acceptfrom_with, bind, listen, shutdown};
use rustix::process::umask;

use super::connect::stream;
use super::datagrams::bind_group;
use super::resolve::Place;
use super::syn_filter;
use super::timed::connect_within;
use crate::endpoint::Address;
use crate::error::Error;
use crate::sys::poll::poll;
use crate::sys::privileges::Account;

/// How long the owner of a Unix socket has for showing that it is alive; a full queue shows it too.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// One at a time opens sockets beside others: see [`listen_beside`].
static BESIDE: Mutex<()> = Mutex::new(());

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Connections. The kernel queues so many until they are accepted.
    Connections {
        /// See listen(2).
        backlog: i32,
    },
    /// Datagrams. So many sockets share them by the hash of their addresses and ports (SO_REUSEPORT, socket(7)).
    Datagrams {
        /// At least one.
        sockets: usize,
    },
}

/// A listening socket, or several with the same address. They are closed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<OwnedFd>,
    takes_datagrams: bool,
    address: Address,
    /// Device and inode of a Unix socket's file, to know it again.
    file: Option<(u64, u64)>,
    retired: AtomicBool,
}

/// Who may connect to a Unix socket, by the mode of its file: connect(2) requires write permission. The directories also restrict
/// access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0666.
    Everybody,
    /// Mode 0600.
    Owner,
}

impl Listener {
    /// Listens on all addresses of these places. `beside` are pen's own listeners: one with the same address is taken again, and
    /// others may have addresses that overlap with it. Of a host with several addresses, those of a family that this host lacks are
    /// left out. After an error none of the new ones is left.
    pub fn open_all(
        places: &[Place],
        traffic: Traffic,
        access: Access,
        beside: &[Arc<Self>],
    ) -> Result<Vec<Arc<Self>>, Error> {
        let mut opened: Vec<Arc<Self>> = Vec::new();
        let result = places.iter().try_for_each(|place| Self::open_place(place, traffic, access, beside, &mut opened));
        let is_new = |listener: &&Arc<Self>| !beside.iter().any(|other| Arc::ptr_eq(other, listener));
        if result.is_err() {
            opened.iter().filter(is_new).for_each(|listener| listener.remove_file());
        }
        result.map(|()| opened)
    }

    fn open_place(
        place: &Place,
        traffic: Traffic,
        access: Access,
        beside: &[Arc<Self>],
        opened: &mut Vec<Arc<Self>>,
    ) -> Result<(), Error> {
        let mut result = Err(Error::Address(place.text.clone(), String::from("no address found")));
        for address in &place.addresses {
            let there = [beside, opened.as_slice()].concat();
            match Self::open_beside(address, traffic, access, &there) {
                Ok(listener) => {
                    if !opened.iter().any(|other| Arc::ptr_eq(other, &listener)) {
                        opened.push(listener);
                    }
                    result = Ok(());
                }
                Err(error) if place.addresses.len() == 1 => return Err(Error::Bind(place.text.clone(), error)),
                Err(error) => {
                    let error = Error::Bind(format!("{} ({address})", place.text), error);
                    if has_family(address) {
                        return Err(error);
                    }
                    result = result.or(Err(error));
                }
            }
        }
        result
    }

    fn open_beside(address: &Address, traffic: Traffic, access: Access, beside: &[Arc<Self>]) -> io::Result<Arc<Self>> {
        match beside.iter().find(|other| other.serves(address)) {
            Some(same) => Ok(Arc::clone(same)),
            None => Self::open(address, traffic, access, beside).map(Arc::new),
        }
    }

    /// Listens. A stale Unix socket is replaced. A socket in use and any other file are never changed.
    fn open(address: &Address, traffic: Traffic, access: Access, beside: &[Arc<Self>]) -> io::Result<Self> {
        let sockets = match (address, traffic) {
            (Address::Ip(ip), Traffic::Connections { backlog }) => vec![match listen_at(*ip, backlog, false) {
                Err(Errno::ADDRINUSE) if !beside.is_empty() => listen_beside(*ip, backlog, beside)?,
                socket => socket?,
            }],
            (Address::Ip(ip), Traffic::Datagrams { sockets }) => match bind_group(*ip, sockets, false) {
                Err(Errno::ADDRINUSE) if !beside.is_empty() => bind_group(*ip, sockets, true)?,
                group => group?,
            },
            (Address::Unix(path), Traffic::Connections { backlog }) => {
                let socket = stream(address)?;
                remove_stale(path)?;
                bind_file(&socket, path, access)?;
                listen(&socket, backlog)?;
                vec![socket]
            }
            (Address::Unix(_), Traffic::Datagrams { .. }) => return Err(io::Error::other("-U needs an IP address")),
        };
        let takes_datagrams = matches!(traffic, Traffic::Datagrams { .. });
        let (address, file, retired) = (address.clone(), file_identity(address), AtomicBool::new(false));
        Ok(Self { sockets, takes_datagrams, address, file, retired })
    }

    /// Whether a client of that address comes here, or will once this is resumed.
    fn serves(&self, address: &Address) -> bool {
        self.address == *address && !self.is_retired() && self.file == file_identity(address)
    }

    /// Makes the socket that user's, so that the user may listen on addresses that overlap with its own (see `listen_beside`).
    pub fn share_with(&self, account: &Account) {
        // Without the right to do so, overlapping addresses cannot be had later, and the user is told then.
        for socket in &self.sockets {
            let _ = fchown(socket, Some(Uid::from_raw(account.uid)), Some(Gid::from_raw(account.gid)));
        }
    }

    /// Makes the file of a Unix socket that user's. If something else is in its place by now, that keeps its owner.
    pub fn give_to(&self, account: &Account) -> io::Result<()> {
        let Address::Unix(path) = &self.address else { return Ok(()) };
        // Not by name: a user who may write to the directory could put a link there before the change.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, path, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.file_type().is_socket() || found.nlink() != 1 {
            return Err(io::Error::other("another file has taken its place"));
        }
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        Ok(chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Sets the path of a Unix socket's file as seen from the jail. Without a path it cannot be removed.
    pub fn rename(&mut self, name: Option<PathBuf>) {
        if let Address::Unix(path) = &mut self.address {
            match name {
                Some(name) => *path = name,
                None => self.file = None,
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its sockets: one for connections, and for datagrams as many as were asked for.
    pub fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    fn socket(&self) -> &OwnedFd {
        &self.sockets[0]
    }

    /// Waits for the next client.
    pub fn accept(&self) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
        let (socket, peer) = acceptfrom_with(self.socket(), SocketFlags::CLOEXEC)?;
        Ok((socket, peer.and_then(|peer: SocketAddrAny| SocketAddr::try_from(peer).ok())))
    }

    /// Lets no more clients come. Those that the kernel has queued can still be accepted; once there are none left, [`Self::end`]
    /// loses no client. The queue of a Unix socket outlives its end, which comes at once.
    pub fn stop(&self) {
        match &self.address {
            Address::Ip(_) if self.takes_datagrams => {}
            // Where it fails, a client that comes between the last look at the queue and the end is lost.
            Address::Ip(_) => drop(syn_filter::ignore_new(self.socket())),
            Address::Unix(_) => {
                self.remove_file();
                self.end();
            }
        }
    }

    /// Undoes [`Self::stop`]. It is for sockets that have not ended.
    pub fn resume(&self) {
        // It fails where there is no filter.
        let _ = syn_filter::heed_new(self.socket());
    }

    /// Whether the kernel has queued clients that are not accepted yet.
    pub fn has_queued(&self) -> bool {
        if self.takes_datagrams {
            return false;
        }
        // An error is treated as a client: the caller asks again.
        poll(&mut [PollFd::new(self.socket(), PollFlags::IN)], Some(Duration::ZERO)).map_or(true, |ready| ready > 0)
    }

    /// Ends listening, and wakes the thread that accepts.
    pub fn end(&self) {
        self.retired.store(true, Ordering::Release);
        // On Linux this ends a waiting accept(2) with EINVAL, resets who is queued at a TCP socket, and leaves the queue of a Unix
        // socket alone. It cannot fail for a listening socket.
        let _ = shutdown(self.socket(), Shutdown::Both);
    }

    /// Whether listening was ended.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Removes the file of a Unix socket, unless another file has replaced it.
    pub fn remove_file(&self) {
        if let Address::Unix(path) = &self.address {
            if self.file.is_some() && self.file == file_identity(&self.address) {
                // Failing means that it is gone already or the directory is not ours to change: nothing more to do.
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn listen_at(ip: SocketAddr, backlog: i32, beside: bool) -> Result<OwnedFd, Errno> {
    let socket = stream(&Address::Ip(ip))?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, beside)?;
    // The sockets that are accepted inherit it, so that it costs no call for each.
    set_socket_keepalive(&socket, true)?;
    if ip.is_ipv6() {
        set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &ip)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Whether this host has addresses of that family, at least that of itself.
fn has_family(address: &Address) -> bool {
    let ip: IpAddr = match address {
        Address::Ip(SocketAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        Address::Ip(SocketAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        Address::Unix(_) => return true,
    };
    let any_port = SocketAddr::new(ip, 0);
    stream(&Address::Ip(any_port)).and_then(|socket| bind(&socket, &any_port)).is_ok()
}

/// Listens on an address that may overlap with those of other sockets, as all addresses do with one of them. Linux allows that for
/// sockets of the same user that all have SO_REUSEPORT (socket(7)). They have it for this moment only, so that no other program can
/// take a part of their clients. A client comes to the socket with the closest address.
fn listen_beside(ip: SocketAddr, backlog: i32, others: &[Arc<Listener>]) -> Result<OwnedFd, Errno> {
    let _alone = BESIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let allow = |yes: bool| {
        for other in others.iter().filter(|other| matches!(other.address, Address::Ip(_))) {
            // Without it the address cannot be had, which is told.
            let _ = set_socket_reuseport(other.socket(), yes);
        }
    };
    allow(true);
    let socket = listen_at(ip, backlog, true).and_then(|socket| set_socket_reuseport(&socket, false).map(|()| socket));
    allow(false);
    socket
}

fn file_identity(address: &Address) -> Option<(u64, u64)> {
    match address {
        Address::Ip(_) => None,
        Address::Unix(path) => fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino())),
    }
}

/// Binds to a path. The file has its mode from the first moment on, so that it need not be changed by its name, which may
/// stand for something else by then: a socket is made with all permissions but those of the umask (unix(7)).
fn bind_file(socket: &OwnedFd, path: &Path, access: Access) -> io::Result<()> {
    let mask = match access {
        Access::Everybody => 0o111,
        Access::Owner => 0o177,
    };
    // From here on it is the umask of this thread alone. Where that is forbidden, the others share it for a moment, in which it
    // has no say in what they make: all files are made with the mode 0644.
    let _ = unshare(CloneFlags::CLONE_FS);
    let before = umask(Mode::from_bits_retain(mask));
    let bound = SocketAddrUnix::new(path).and_then(|path| bind(socket, &path));
    umask(before);
    Ok(bound?)
}

/// Removes the file of a stale Unix socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::other("the file exists and is not a socket")),
        Ok(_) => {
            let probe = stream(&Address::Unix(path.to_path_buf()))?;
            match connect_within(&probe, &SocketAddrUnix::new(path)?, PROBE_TIME) {
                Err(Errno::CONNREFUSED) => fs::remove_file(path),
                _ => Err(Errno::ADDRINUSE.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_put_in_the_place_of_a_socket_keeps_its_owner() {
        let directory = env::temp_dir().join(format!("pen-socket-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let (path, precious, other) = (directory.join("socket"), directory.join("precious"), directory.join("other"));
        let traffic = Traffic::Connections { backlog: 1 };
        let open =
            |path: &Path| Listener::open(&Address::Unix(path.to_path_buf()), traffic, Access::Owner, &[]).unwrap();
        let (listener, _other) = (open(&path), open(&other));
        fs::write(&precious, "").unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        let before = owner(&precious);
        let account = Account::find("12345:54321").unwrap();
        for target in [&precious, &other] {
            for trap in [symlink, fs::hard_link] {
                fs::remove_file(&path).unwrap();
                trap(target, &path).unwrap();
                assert!(listener.give_to(&account).is_err(), "{}", target.display());
                assert_eq!((owner(target), owner(&path)), (before, before));
            }
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
