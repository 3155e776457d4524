//! Where the request log goes, and what its lines look like: a file, or penlogd at the other end of a UDP socket.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, open, openat};
use rustix::io::retry_on_intr;
use rustix::stdio::{stderr, stdout};

use super::place::Place;
use super::poll::poll;
use super::root::Root;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::policy::settings::LogTarget;

/// The most bytes that are written at once. Into a pipe so much goes whole or not at all (pipe(7)), and of a file it touches two
/// pages at most, so that there is hardly a moment in which a kill could leave a part of a line.
pub const BATCH: usize = 4096;

/// How long a pipe or a terminal may take before it counts as an error.
const PATIENCE: Duration = Duration::from_millis(100);

/// Something to write lines to.
#[derive(Debug)]
pub struct Destination {
    target: LogTarget,
    medium: Medium,
}

#[derive(Debug)]
enum Medium {
    File {
        file: File,
        /// It is no pipe, no terminal and no socket.
        regular: bool,
        /// It ends in the middle of a line, which another program has left so.
        ragged: bool,
    },
    Udp {
        socket: UdpSocket,
        to: SocketAddr,
    },
}

impl Destination {
    /// Opens a file, and makes it if need be: everybody may read it, less the umask. Names must be resolved. The error is the
    /// sentence for the administrator.
    pub fn open(target: &LogTarget, root: &Root) -> Result<Self, Error> {
        let medium = match target {
            LogTarget::File(path) => match inherited(&root.name(path)) {
                Some((file, regular)) => Ok(Medium::File { file, regular, ragged: false }),
                None => open_file(&root.name(path)),
            },
            LogTarget::Udp(_, endpoint) => match endpoint {
                Endpoint::Tcp(host, port) => open_socket(host.addresses(), port.number().unwrap_or(0)),
                Endpoint::Unix(_) => Err(ErrorKind::Unsupported.into()),
            },
        };
        match medium {
            Ok(medium) => Ok(Self { target: target.clone(), medium }),
            Err(error) => Err(Error::System(format!("Can't open logfile {target}"), error)),
        }
    }

    /// What was opened.
    pub fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Whether a file can take its place under the same name. Pipes, terminals and sockets stay: the user of `-u` may not be allowed to
    /// open them again, and they are not renamed.
    pub fn can_be_replaced(&self) -> bool {
        matches!(self.medium, Medium::File { regular: true, .. } | Medium::Udp { .. })
    }

    /// Whether it is a file whose name was taken away, so that what is written cannot be read any more.
    pub fn is_deleted(&self) -> bool {
        match &self.medium {
            Medium::File { file, .. } => file.metadata().is_ok_and(|found| found.nlink() == 0),
            Medium::Udp { .. } => false,
        }
    }

    /// Writes lines, all of them or the first of them, and tells how many bytes that was. A line that could not be written whole
    /// is taken back, as far as that is possible.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match &mut self.medium {
            Medium::File { file, regular, ragged } => {
                if *ragged {
                    put(file, b"\n")?;
                    *ragged = false;
                }
                write_batch(file, *regular, lines)
            }
            Medium::Udp { socket, to } => {
                let end = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
                // UDP does not tell whether it arrives.
                socket.send_to(&lines[..end], *to).map(|_| end)
            }
        }
    }
}

/// The standard output or error that a name stands for, and whether it is a regular file. It is used as it is, since the user of
/// `-u` may not be allowed to open it, and a jail does not have the name. A link to a pipe, a terminal or a socket is another name for
/// it, as images of containers have them (`access.log -> /dev/stdout`, `/proc/1/fd/1`).
fn inherited(path: &Path) -> Option<(File, bool)> {
    let named = fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    [(1, stdout()), (2, stderr())].into_iter().find_map(|(number, stream)| {
        let file = File::from(stream.try_clone_to_owned().ok()?);
        let found = file.metadata().ok()?;
        let is_same = || !found.is_file() && named == Some((found.dev(), found.ino()));
        (is_name_of(path, number) || is_same()).then_some((file, found.is_file()))
    })
}

/// Whether that is one of the usual names of the standard output, 1, or the standard error, 2.
fn is_name_of(path: &Path, number: u8) -> bool {
    let name = if number == 1 { "/dev/stdout" } else { "/dev/stderr" };
    path == Path::new(name)
        || ["/dev/fd", "/proc/self/fd"].iter().any(|fd| path == Path::new(fd).join(number.to_string()))
}

fn open_file(path: &Path) -> io::Result<Medium> {
    let file = open_to_append(path)?;
    let found = file.metadata()?;
    let kind = found.file_type();
    if !(kind.is_file() || kind.is_fifo() || kind.is_char_device()) {
        return Err(io::Error::other("not a file, a pipe or a terminal"));
    }
    let ragged = kind.is_file() && found.len() > 0 && last_byte(path).is_ok_and(|byte| byte != b'\n');
    Ok(Medium::File { file, regular: kind.is_file(), ragged })
}

/// Opens a file at its end, and makes it if need be. Root follows no link that others may have laid, since a client chooses what is
/// written.
fn open_to_append(path: &Path) -> io::Result<File> {
    // A pipe without a reader must not block, and a terminal must not become the controlling one.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let place = Place::find(path)?;
    let opened = openat(place.directory(), place.name(), flags | OFlags::CREATE | OFlags::NOFOLLOW, Mode::from(0o644));
    match opened {
        Ok(file) => Ok(file.into()),
        // The target of a link in proc(5), such as `pipe:[4711]`, is no path.
        Err(error) if fstatfs(place.directory())?.f_type == PROC_SUPER_MAGIC => {
            match open(path, flags, Mode::empty()).map(File::from) {
                Ok(file) if !file.metadata()?.is_file() => Ok(file),
                _ => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// The last byte of a file. It may fail for a file that may only be written.
fn last_byte(path: &Path) -> io::Result<u8> {
    // By now another file may have this name.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn open_socket(addresses: &[IpAddr], port: u16) -> io::Result<Medium> {
    let mut result = Err(io::Error::other("no address found"));
    for ip in addresses {
        let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        result = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Medium::Udp { socket, to: SocketAddr::new(*ip, port) })
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Writes the first of the lines, as many as make a batch.
fn write_batch(file: &File, regular: bool, lines: &[u8]) -> io::Result<usize> {
    let batch = match lines.get(..BATCH) {
        Some(start) if lines.len() > BATCH => &start[..whole_lines(start).unwrap_or(BATCH)],
        _ => lines,
    };
    let (mut done, mut start) = (0, None);
    while done < batch.len() {
        match put(file, &batch[done..]) {
            Ok(count) => done += count,
            Err(error) => {
                let whole = whole_lines(&batch[..done]).unwrap_or(0);
                if start.is_some_and(|start| take_back(file, start, done, whole).is_ok()) {
                    done = whole;
                }
                // What is wrong will be found again by the next attempt.
                return if done > 0 { Ok(done) } else { Err(error) };
            }
        }
        if regular && done < batch.len() {
            start = start.or(end_of_writing(file).ok().and_then(|end| end.checked_sub(done as u64)));
        }
    }
    Ok(done)
}

/// Where the last whole line ends.
fn whole_lines(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1)
}

/// Where the bytes that were written last end.
fn end_of_writing(mut file: &File) -> io::Result<u64> {
    // Of a file that is appended to, too.
    file.stream_position()
}

/// Takes back what was written from `start` on, `done` bytes, but for the first `whole`. It is refused if another program has
/// written between or behind them.
fn take_back(file: &File, start: u64, done: usize, whole: usize) -> io::Result<()> {
    let end = start + done as u64;
    if end_of_writing(file)? != end || file.metadata()?.len() != end {
        return Err(io::Error::other("another process has written"));
    }
    file.set_len(start + whole as u64)
}

/// Writes some bytes, at least one. It waits for a pipe or a terminal, but not for long: also for one that blocks, into which a
/// batch goes whole once poll(2) says that it can be written.
fn put(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        if retry_on_intr(|| poll(&mut [PollFd::new(&file, PollFlags::OUT)], Some(PATIENCE)))? == 0 {
            return Err(io::Error::other("nobody reads it"));
        }
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(io::Error::other("nobody reads it")),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::fs::OpenOptions;
    use std::path::PathBuf;

    #[test]
    fn a_batch_ends_with_a_line_and_a_file_that_does_not_is_continued_on_a_new_one() {
        let path = env::temp_dir().join(format!("pen-logfile-{}", std::process::id()));
        fs::write(&path, "torn").unwrap();
        let mut destination = Destination::open(&LogTarget::File(path.clone()), &Root::new(None).unwrap()).unwrap();
        let lines = format!("{}\n", "x".repeat(99)).repeat(50);
        assert_eq!(destination.write(lines.as_bytes()).unwrap(), 4000);
        assert_eq!(destination.write(&lines.as_bytes()[4000..]).unwrap(), 1000);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("torn\n{lines}"));
        assert!(!destination.is_deleted());
        fs::remove_file(&path).unwrap();
        assert!(destination.is_deleted());
    }

    #[test]
    fn nothing_of_what_others_have_written_is_taken_back() {
        let path = env::temp_dir().join(format!("pen-logfile-shared-{}", std::process::id()));
        let open = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let (mut ours, mut theirs) = (open(), open());
        theirs.write_all(b"0\n").unwrap();
        ours.write_all(b"1\n2").unwrap();
        take_back(&ours, 2, 3, 2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n1\n");
        // Behind ours.
        ours.write_all(b"3\n4").unwrap();
        theirs.write_all(b"5\n").unwrap();
        take_back(&ours, 4, 3, 2).unwrap_err();
        // Between ours.
        ours.write_all(b"6").unwrap();
        take_back(&ours, 4, 4, 2).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n1\n3\n45\n6");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_a_log_is_refused_with_the_cause() {
        for (path, cause) in [("/", "Is a directory"), ("/no/such/folder/x", "No such file or directory")] {
            let error = Destination::open(&LogTarget::File(PathBuf::from(path)), &Root::new(None).unwrap())
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("Can't open logfile {path}: {cause}"));
        }
    }
}
