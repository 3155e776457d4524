//! The lines of a log that was written: from a file, from the standard input, or from either one compressed by gzip(1).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::mem;
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::error::Error;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// The longest line, in bytes. It is far longer than what web servers write; what follows in a longer one is skipped. Without a bound a
/// compressed file of some kilobytes could fill the memory.
const LONGEST: usize = 16 * 1024 * 1024;

/// What a file begins with that gzip(1) has compressed (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The error that has ended one of several logs.
pub type Failure = Rc<RefCell<Option<Error>>>;

/// The lines of a log, with their ends. An error ends them.
#[expect(missing_debug_implementations, reason = "what reads the file has none")]
pub struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    failure: Failure,
}

impl Lines {
    /// Opens a file, or the standard input for `-`. Whether it is compressed is seen from its content. A later error goes to `failure`.
    pub fn open(path: &str, failure: &Failure) -> Result<Self, Error> {
        let name = if path == "-" { String::from("the standard input") } else { path.to_string() };
        let refused = |error| Error::System(format!("Can't read {name}"), error);
        let file: Box<dyn Read> = match path {
            "-" => Box::new(io::stdin()),
            path => Box::new(open(Path::new(path)).map_err(refused)?),
        };
        let reader = uncompressed(file).map_err(refused)?;
        Ok(Self { reader, name, failure: Rc::clone(failure) })
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        skip_zeros(&mut self.reader)?;
        self.reader.by_ref().take(LONGEST as u64).read_until(b'\n', &mut line)?;
        if line.len() == LONGEST && line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n')?;
        }
        Ok(line)
    }
}

impl Iterator for Lines {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match self.read() {
            Ok(line) => Some(line).filter(|line| !line.is_empty()),
            Err(error) => {
                let failed = Error::System(format!("Can't read {}", self.name), error);
                self.failure.borrow_mut().get_or_insert(failed);
                None
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

fn uncompressed(mut file: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut start = Vec::new();
    file.by_ref().take(GZIP.len() as u64).read_to_end(&mut start)?;
    let is_compressed = start == GZIP;
    let whole = BufReader::with_capacity(BLOCK, Cursor::new(mem::take(&mut start)).chain(file));
    if is_compressed {
        return Ok(Box::new(BufReader::with_capacity(BLOCK, MultiGzDecoder::new(whole))));
    }
    Ok(Box::new(whole))
}

/// A file that was cut while a program went on writing at its old place begins with zeros (`copytruncate` in logrotate(8)).
fn skip_zeros(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let block = reader.fill_buf()?;
        let zeros = block.iter().take_while(|byte| **byte == 0).count();
        let is_over = zeros < block.len() || block.is_empty();
        reader.consume(zeros);
        if is_over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use std::{env, fs};

    /// What is read from a file with this content, and the error.
    fn read(name: &str, content: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
        let path = env::temp_dir().join(format!("pen-lines-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        let failure = Failure::default();
        let lines = Lines::open(path.to_str().unwrap(), &failure).unwrap().collect();
        fs::remove_file(&path).unwrap();
        let error = failure.borrow_mut().take().map(|error| error.to_string().replace(path.to_str().unwrap(), "F"));
        (lines, error)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_file_is_read_compressed_or_not() {
        let lines = vec![b"a\n".to_vec(), b"\n".to_vec(), b"b".to_vec()];
        assert_eq!(read("plain", b"a\n\nb"), (lines.clone(), None));
        // Two that were put together, as cat(1) does.
        assert_eq!(read("gzip", &[gzip(b"a\n"), gzip(b"\nb")].concat()), (lines, None));
        assert_eq!(read("empty", b""), (vec![], None));
        assert_eq!(read("none", &gzip(b"")), (vec![], None));
        assert_eq!(read("short", b"\x1f"), (vec![b"\x1f".to_vec()], None));
        assert_eq!(
            read("cut", &[&[0; 3 * BLOCK][..], b"a\n\0b\n"].concat()),
            (vec![b"a\n".to_vec(), b"b\n".to_vec()], None)
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_after_what_could_be_read() {
        let mut content = gzip(&b"0123456789\n".repeat(100_000));
        content.truncate(content.len() - 9);
        let (lines, error) = read("damaged", &content);
        assert!(lines.len() > 1000, "{}", lines.len());
        assert!(error.unwrap().starts_with("Can't read F: "));
    }

    #[test]
    fn the_rest_of_an_endless_line_is_skipped() {
        let (lines, error) = read("long", &gzip(&[&vec![b'x'; 3 * LONGEST][..], b"\nb\n"].concat()));
        assert_eq!((lines.iter().map(Vec::len).collect::<Vec<_>>(), error), (vec![LONGEST, 2], None));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |path: &str| Lines::open(path, &Failure::default()).map(drop).unwrap_err().to_string();
        assert_eq!(refused("/no/such/file"), "Can't read /no/such/file: No such file or directory");
        assert_eq!(refused("/"), "Can't read /: is a directory");
    }
}
