//! The service manager that has started the program, if it wants to be told how that goes: sd_notify(3) of systemd.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The variable of the environment that names its socket. Programs that this one runs must not have it.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// See the module's documentation. Copies tell the same one.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager(Option<Arc<UnixDatagram>>);

impl ServiceManager {
    /// The one that the environment names. To be called before the process enters a jail, where its socket has no name.
    pub fn find() -> Self {
        let socket = env::var_os(VARIABLE).and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            // A manager that does not read must not hold the program up.
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        });
        Self(socket.map(Arc::new))
    }

    /// The program works, also after it has read its configuration again.
    pub fn is_ready(&self) {
        self.tell("READY=1");
    }

    /// The program reads its configuration again.
    pub fn is_reloading(&self) {
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The program is about to end.
    pub fn is_stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.0 {
            // It fails when the manager has gone, and then nothing can be done about it.
            let _ = socket.send(text.as_bytes());
        }
    }
}
