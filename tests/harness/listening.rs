//! What the kernel tells of a process that is about to listen.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where clients find a pen.
#[derive(Debug)]
pub(super) enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
}

/// Whether the process has said what to do at TERM.
pub(super) fn heeds_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|mask| mask & 1 << (15 - 1) != 0)
}

/// Where the process listens, or takes datagrams, once it does. Asking the kernel rather than connecting leaves no trace in pen's tables.
pub(super) fn listening(pid: u32, operand: &str, takes_datagrams: bool) -> Option<Address> {
    let sockets = sockets(pid);
    // It may listen elsewhere, too: on its control port.
    let wanted: Option<u16> = operand.rsplit(':').next().and_then(|port| port.parse().ok());
    if operand.starts_with('/') {
        return unix_listener(pid, &sockets, Path::new(operand));
    }
    // The state of a TCP socket that listens, and of a UDP socket that is not connected.
    let (tables, state) = match takes_datagrams {
        true => ([("udp", false), ("udp6", true)], "07"),
        false => ([("tcp", false), ("tcp6", true)], "0A"),
    };
    tables.iter().find_map(|(table, v6)| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (ip, port) = fields.get(1)?.split_once(':')?;
            let listens = fields.get(3) == Some(&state) && sockets.contains(*fields.get(9)?);
            let port = u16::from_str_radix(port, 16).ok().filter(|_| listens)?;
            if wanted.is_some_and(|wanted| wanted != port) {
                return None;
            }
            Some(Address::Ip(SocketAddr::new(reachable(ip, *v6), port)))
        })
    })
}

/// The numbers of the sockets that a process has open.
fn sockets(pid: u32) -> HashSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_string())).collect()
}

/// An address as /proc/net/tcp writes it; where that is any address, the loopback one.
fn reachable(hex: &str, v6: bool) -> IpAddr {
    let words: Vec<u32> =
        (0..hex.len() / 8).map(|i| u32::from_str_radix(&hex[8 * i..8 * i + 8], 16).unwrap()).collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let any = bytes.iter().all(|byte| *byte == 0);
    let loopback: IpAddr = if v6 { "::1".parse().unwrap() } else { "127.0.0.1".parse().unwrap() };
    match (any, v6) {
        (true, _) => loopback,
        (false, true) => IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()),
        (false, false) => IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap()),
    }
}

fn unix_listener(pid: u32, sockets: &HashSet<String>, path: &Path) -> Option<Address> {
    const ACCEPTS: u32 = 1 << 16;
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let found = table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let flags = fields.get(3).and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or(0);
        flags & ACCEPTS != 0
            && fields.get(6).is_some_and(|inode| sockets.contains(*inode))
            && fields.get(7).is_some_and(|name| Path::new(name) == path)
    });
    found.then(|| Address::Unix(path.to_path_buf()))
}
