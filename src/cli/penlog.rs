//! The `penlog` program: passes the lines of a web server on to penlogd.

use std::env;
use std::process::ExitCode;

use super::{complain, print};
use crate::daemon::penlog::{self, Options};
use crate::endpoint::Endpoint;
use crate::error::Error;

const NAME: &str = "penlog";

const USAGE: &str = "\
usage: penlog host port [my_ip]
       penlog host:port [my_ip]

Reads the log of a web server from standard input and sends each line to penlogd, by UDP. With my_ip
it sends from this address, which must be the server's address in the command line of pen.

  --help        print this text
  --version     print the version

examples: CustomLog \"|/usr/bin/penlog loghost 10000\" combined
          tail -n 0 -F /var/log/nginx/access.log | penlog loghost 10000
";

/// Runs the program.
pub fn main() -> ExitCode {
    penlog::begin();
    let arguments = env::args_os().skip(1).map(|argument| {
        argument.into_string().map_err(|raw| Error::Usage(format!("argument {raw:?} is not valid UTF-8")))
    });
    let outcome = arguments.collect::<Result<Vec<_>, _>>().and_then(|arguments| {
        match arguments.first().map(String::as_str) {
            None | Some("--help") => return Ok(print(USAGE)),
            Some("--version") => return Ok(print(concat!("penlog ", env!("CARGO_PKG_VERSION"), "\n"))),
            Some(option) if option.starts_with('-') => {
                return Err(Error::Usage(format!("unrecognized option '{option}'")));
            }
            _ => {}
        }
        penlog::run(&configure(&arguments)?, &|text| complain(NAME, text)).map(|()| ExitCode::SUCCESS)
    });
    outcome.unwrap_or_else(|error| {
        complain(NAME, &error.to_string());
        ExitCode::FAILURE
    })
}

fn configure(arguments: &[String]) -> Result<Options, Error> {
    // Only an address with a port in it has a colon and no port behind it.
    let is_whole = |place: &String| Endpoint::parse_server(place, None).is_ok_and(|place| place.port().is_some());
    let (place, rest) = match arguments {
        [place, rest @ ..] if is_whole(place) => (place.clone(), rest),
        [host, port, rest @ ..] => {
            let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
            (format!("{host}:{port}"), rest)
        }
        _ => return Err(Error::Usage(String::from("no port given"))),
    };
    let server = Endpoint::parse_server(&place, None).map_err(Error::Usage)?;
    let source = match rest {
        [] => None,
        [ip] => Some(ip.parse().map_err(|_| Error::Usage(format!("my_ip: \"{ip}\" is not an address")))?),
        [_, more, ..] => return Err(Error::Usage(format!("too many arguments: \"{more}\""))),
    };
    match server {
        Endpoint::Tcp(..) => Ok(Options { server, source }),
        Endpoint::Unix(_) => Err(Error::Usage(format!("\"{place}\" is not host and port"))),
    }
}
