//! A terminal that shows one frame after the other, and is as it was before in the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcgetwinsize, tcsetattr, ttyname,
};

use super::poll::poll;

/// The alternate screen (xterm's control sequences), which keeps what was shown before.
const ALTERNATE: &[u8] = b"\x1b[?1049h";

/// An empty screen without a cursor.
const BEGIN: &[u8] = b"\x1b[?25l\x1b[2J";

/// The screen as it was before. What a terminal has taken only a part of is cancelled first (CAN).
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
const CANCEL: &[u8] = b"\x18";

/// How long the end waits for a terminal that takes nothing.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What is assumed of a terminal that does not know its size: that of a VT100.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// How much fits on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// A terminal whose alternate screen is shown, and whose keys come one by one, without an echo. It is restored when this is dropped.
#[derive(Debug)]
pub struct Screen {
    /// Where keys come from, with what was set there before; `None`: that is no terminal.
    input: Option<(OwnedFd, Termios)>,
    output: OwnedFd,
    /// What the terminal has not taken yet.
    pending: Vec<u8>,
    is_entered: bool,
}

impl Screen {
    /// Takes the terminal of the standard output, and the keys of the standard input if that is a terminal.
    pub fn open() -> io::Result<Self> {
        let input = isatty(stdin()).then(|| fcntl_dupfd_cloexec(stdin(), 0)).transpose()?;
        Self::on(input, fcntl_dupfd_cloexec(stdout(), 0)?)
    }

    /// Takes these two, which are terminals.
    fn on(input: Option<OwnedFd>, output: OwnedFd) -> io::Result<Self> {
        let input = match input {
            None => None,
            Some(input) => {
                let settings = uninterrupted(|| tcgetattr(&input))?;
                Some((input, settings))
            }
        };
        // A terminal that is stopped must not hold the program. An open file of its own can be set to not block; the shell's must not.
        // Where it cannot be opened, as after su(1), writes may block.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let own = ttyname(&output, Vec::new()).and_then(|name| open(name, flags, Mode::empty()));
        let mut screen = Self { input, output: own.unwrap_or(output), pending: Vec::new(), is_entered: false };
        screen.enter()?;
        Ok(screen)
    }

    /// Takes the terminal, again after [`Screen::leave`], or while it is taken after something else has used it.
    pub fn enter(&mut self) -> io::Result<()> {
        if !self.is_entered {
            self.pending.extend_from_slice(ALTERNATE);
        }
        self.is_entered = true;
        if let Some((input, settings)) = &self.input {
            let mut raw = settings.clone();
            raw.make_raw();
            // What was typed already is a key, too.
            uninterrupted(|| tcsetattr(input, OptionalActions::Now, &raw))?;
        }
        self.pending.extend_from_slice(BEGIN);
        self.proceed()
    }

    /// Restores the terminal as far as possible.
    pub fn leave(&mut self) {
        if !self.is_entered {
            return;
        }
        self.is_entered = false;
        if !self.pending.is_empty() {
            self.pending = CANCEL.to_vec();
        }
        self.pending.extend_from_slice(LEAVE);
        // Whether it can be restored is not known, and there is nothing else to do.
        let _ = self.proceed();
        if !self.pending.is_empty() {
            let _ = poll(&mut [PollFd::new(&self.output, PollFlags::OUT)], Some(LAST_BYTES));
            let _ = self.proceed();
            self.pending.clear();
        }
        if let Some((input, settings)) = &self.input {
            // The rest of a key of several bytes is not for the shell.
            let _ = tcflush(input, QueueSelector::IFlush);
            let _ = uninterrupted(|| tcsetattr(input, OptionalActions::Now, settings));
        }
    }

    /// How much fits on it now.
    pub fn size(&self) -> Size {
        match tcgetwinsize(&self.output) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
            }
            _ => DEFAULT_SIZE,
        }
    }

    /// Shows a frame, at once. It is left out if the terminal has not taken the whole last one.
    pub fn show(&mut self, frame: &str) -> io::Result<()> {
        if self.pending.is_empty() {
            self.pending.extend_from_slice(frame.as_bytes());
        }
        self.proceed()
    }

    /// Goes on with what the terminal has not taken yet.
    pub fn proceed(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match write(&self.output, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What is to be waited for besides a key: that the terminal takes more.
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        (!self.pending.is_empty()).then(|| self.output.as_fd())
    }

    /// What is readable when there is a key.
    pub fn keys(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|(input, _)| input.as_fd())
    }

    /// Takes a key that is there. Whatever comes is one, also the end of the terminal.
    pub fn take_key(&self) {
        if let Some((input, _)) = &self.input {
            let _ = read(input, &mut [0; 64]);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Makes a call again that a signal has interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcsetwinsize};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Both ends of a terminal; the first one is the user's.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = open(ptsname(&user, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        (user, program)
    }

    fn screen(program: &OwnedFd) -> Screen {
        Screen::on(Some(program.try_clone().unwrap()), program.try_clone().unwrap()).unwrap()
    }

    fn modes(program: &OwnedFd) -> LocalModes {
        tcgetattr(program).unwrap().local_modes
    }

    /// Asserts what the user sees next. It may come in pieces.
    #[track_caller]
    fn assert_seen(user: &OwnedFd, expected: &[&[u8]]) {
        let (mut bytes, expected) = (Vec::new(), expected.concat());
        while bytes.len() < expected.len() {
            let mut part = vec![0; expected.len()];
            let count = read(user, &mut part).unwrap();
            bytes.extend_from_slice(&part[..count]);
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_screen_restores_the_terminal_even_in_a_panic() {
        let (user, program) = terminal();
        let before = modes(&program);
        assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut screen = screen(&program);
            assert!(!modes(&program).intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
            screen.show("frame").unwrap();
            panic!("on purpose");
        }));
        assert!(outcome.is_err());
        assert_eq!(modes(&program), before);
        assert_seen(&user, &[ALTERNATE, BEGIN, b"frame", LEAVE]);
    }

    #[test]
    fn a_screen_can_be_left_and_entered_again() {
        let (user, program) = terminal();
        let before = modes(&program);
        let mut screen = screen(&program);
        screen.leave();
        screen.leave();
        assert_eq!(modes(&program), before);
        screen.enter().unwrap();
        screen.enter().unwrap();
        assert_ne!(modes(&program), before);
        drop(screen);
        assert_seen(&user, &[ALTERNATE, BEGIN, LEAVE, ALTERNATE, BEGIN, BEGIN, LEAVE]);
    }

    #[test]
    fn a_screen_has_the_size_of_the_terminal_or_of_a_vt100() {
        let (user, program) = terminal();
        let screen = screen(&program);
        let resize = |columns, rows| {
            let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&user, size).unwrap();
        };
        for (columns, rows, expected) in
            [(132, 50, Size { columns: 132, rows: 50 }), (0, 0, DEFAULT_SIZE), (7, 0, DEFAULT_SIZE)]
        {
            resize(columns, rows);
            assert_eq!(screen.size(), expected);
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_nobody_up() {
        let (user, program) = terminal();
        let before = modes(&program);
        let mut screen = screen(&program);
        let frame = "x".repeat(1000);
        while screen.blocked().is_none() {
            screen.show(&frame).unwrap();
        }
        let left = screen.pending.len();
        // The frame that it does not take is left out.
        screen.show(&frame).unwrap();
        assert!(screen.pending.len() <= left);
        screen.leave();
        assert_eq!(modes(&program), before);
        drop(user);
    }
}
