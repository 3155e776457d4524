//! Reads a PROXY header, in pieces of any size. It never takes a byte behind the header.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::checksum::crc32c;
use super::{Accepts, Announced, Ends, FIXED, LONGEST_LINE, PATH, SIGNATURE, Version, WORD, types};

/// Why something is no header, or not one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin as one.
    None,
    /// It is of the other version.
    Unwanted(Version),
    /// It begins as one of that version and goes on otherwise.
    Wrong(Version),
    /// Its checksum is that of other bytes.
    Checksum,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("sent no PROXY header"),
            Self::Unwanted(version) => write!(f, "sent a PROXY header of {}, which is not accepted", version.word()),
            Self::Wrong(version) => write!(f, "sent a PROXY header of {} that is malformed", version.word()),
            Self::Checksum => f.write_str("sent a PROXY header with a wrong checksum"),
        }
    }
}

/// A header that is under way.
#[derive(Debug)]
pub struct Reader {
    accepts: Accepts,
    bytes: Vec<u8>,
}

impl Reader {
    /// For a header of these versions.
    pub fn new(accepts: Accepts) -> Self {
        Self { accepts, bytes: Vec::new() }
    }

    /// Takes those of the next bytes that belong to the header, at least one if there is one. Returns how many it took, and what the
    /// header says if it is whole.
    pub fn take(&mut self, next: &[u8]) -> Result<(usize, Option<Announced>), Fault> {
        let Some(first) = self.bytes.first().or(next.first()) else { return Ok((0, None)) };
        let version = match first {
            first if *first == WORD[0] => Version::V1,
            first if *first == SIGNATURE[0] => Version::V2,
            _ => return Err(Fault::None),
        };
        match version {
            Version::V1 => self.take_line(next),
            Version::V2 => self.take_binary(next),
        }
    }

    /// The beginning of the header must be this, as far as it is there.
    fn check(&self, beginning: &[u8], version: Version) -> Result<(), Fault> {
        let there = beginning.len().min(self.bytes.len());
        if self.bytes[..there] != beginning[..there] {
            return Err(Fault::None);
        }
        if there == beginning.len() && !self.accepts.takes(version) {
            return Err(Fault::Unwanted(version));
        }
        Ok(())
    }

    fn take_line(&mut self, next: &[u8]) -> Result<(usize, Option<Announced>), Fault> {
        let end = next.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let count = end.unwrap_or(next.len()).min(LONGEST_LINE - self.bytes.len());
        self.bytes.extend_from_slice(&next[..count]);
        self.check(WORD, Version::V1)?;
        match self.bytes.strip_suffix(b"\n") {
            Some(line) => {
                let ends = line.strip_suffix(b"\r").and_then(|line| read_line(&line[WORD.len()..]));
                let ends = ends.ok_or(Fault::Wrong(Version::V1))?;
                Ok((count, Some(Announced { ends, is_secure: false, more: Vec::new() })))
            }
            None if self.bytes.len() == LONGEST_LINE => Err(Fault::Wrong(Version::V1)),
            None => Ok((count, None)),
        }
    }

    fn take_binary(&mut self, next: &[u8]) -> Result<(usize, Option<Announced>), Fault> {
        let mut taken = 0;
        loop {
            let whole = self.whole()?;
            let count = (whole - self.bytes.len()).min(next.len() - taken);
            self.bytes.extend_from_slice(&next[taken..taken + count]);
            taken += count;
            self.check(SIGNATURE, Version::V2)?;
            if self.bytes.len() < whole {
                return Ok((taken, None));
            }
            if self.whole()? == whole && whole >= FIXED {
                return read_binary(&self.bytes).map(|announced| (taken, Some(announced)));
            }
        }
    }

    /// The length of the header of v2, as far as it is known.
    fn whole(&self) -> Result<usize, Fault> {
        match self.bytes.get(12..FIXED) {
            None => Ok(FIXED),
            Some([0x20 | 0x21, _, high, low]) => Ok(FIXED + usize::from(u16::from_be_bytes([*high, *low]))),
            Some(_) => Err(Fault::Wrong(Version::V2)),
        }
    }
}

/// What follows `PROXY ` in a line without its end.
fn read_line(line: &[u8]) -> Option<Ends> {
    let line = std::str::from_utf8(line).ok()?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Ends::Unknown);
    }
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut ip = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => Ipv4Addr::from_str(word).ok().map(IpAddr::V4),
            "TCP6" => Ipv6Addr::from_str(word).ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_| is_plain)
    };
    let (from, to) = (port()?, port()?);
    words.next().is_none().then(|| Ends::tcp(SocketAddr::new(source, from), SocketAddr::new(destination, to)))
}

/// A whole header of v2.
fn read_binary(bytes: &[u8]) -> Result<Announced, Fault> {
    let wrong = Fault::Wrong(Version::V2);
    let (command, family, body) = (bytes[12] & 0xf, bytes[13], &bytes[FIXED..]);
    // LOCAL; and what is no stream, or of no family that is known, is to be taken like it.
    let length = match (command, family) {
        (1, 0x11) => 12,
        (1, 0x21) => 36,
        (1, 0x31) => 2 * PATH,
        _ => return Ok(Announced { ends: Ends::Unknown, is_secure: false, more: Vec::new() }),
    };
    let (addresses, more) = body.split_at_checked(length).ok_or(wrong)?;
    let ends = match length {
        12 => Ends::tcp(
            SocketAddr::new(octets::<4>(addresses, 0).into(), port(addresses, 8)),
            SocketAddr::new(octets::<4>(addresses, 4).into(), port(addresses, 10)),
        ),
        36 => Ends::tcp(
            SocketAddr::new(octets::<16>(addresses, 0).into(), port(addresses, 32)),
            SocketAddr::new(octets::<16>(addresses, 16).into(), port(addresses, 34)),
        ),
        _ => Ends::Unix(path(&addresses[..PATH]), path(&addresses[PATH..])),
    };
    let mut announced = Announced { ends, is_secure: false, more: Vec::new() };
    let (mut rest, mut is_checked) = (more, false);
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = after.split_at_checked(length).ok_or(wrong)?;
        match *kind {
            // One is enough: each costs a look at all bytes.
            types::CRC32C if is_checked => return Err(wrong),
            types::CRC32C => {
                is_checked = true;
                let mut all = bytes.to_vec();
                let place = bytes.len() - after.len() - length;
                all[place..place + length].fill(0);
                if value != crc32c(&all).to_be_bytes() {
                    return Err(Fault::Checksum);
                }
            }
            types::NOOP => {}
            kind => {
                // PP2_CLIENT_SSL.
                announced.is_secure |= kind == types::SSL && value.first().is_some_and(|client| client & 1 == 1);
                announced.more.extend_from_slice(&rest[..3 + length]);
            }
        }
        rest = after;
    }
    if rest.is_empty() { Ok(announced) } else { Err(wrong) }
}

fn octets<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|place| bytes[at + place])
}

fn port(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(octets(bytes, at))
}

/// Up to the first NUL. The name of an abstract socket begins with one, and stays whole but for those at its end.
fn path(bytes: &[u8]) -> Vec<u8> {
    let skip = usize::from(bytes.first() == Some(&0));
    let end = bytes.iter().skip(skip).position(|byte| *byte == 0).map_or(bytes.len(), |end| end + skip);
    if end == skip { Vec::new() } else { bytes[..end].to_vec() }
}
