//! The reporter: makes the report that USR1 asks for, so that neither the supervisor nor a reload waits for it.

use std::io;

use crossbeam_channel::{Sender, bounded};

use super::control::reports::Reports;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::policy::report::statistics;
use crate::sys::log::Log;

/// How many paragraphs the logger gets at a time. It writes them as one piece.
const PARAGRAPHS: usize = 200;

/// Starts the thread. The signal thread uses `try_send`: the channel holds one, so a USR1 that comes during a report makes
/// another one after it, and more of them make no more.
pub fn start(reports: Reports, log: Log) -> Result<Sender<()>, Error> {
    let (usr1, inbox) = bounded(1);
    let events = reports.events.clone();
    thread::start("reporter", STACK, &events, move || {
        for () in inbox {
            // It fails when the supervisor has ended: then so is the process.
            let _ = report(&reports, &log);
        }
    })?;
    Ok(usr1)
}

fn report(reports: &Reports, log: &Log) -> io::Result<()> {
    let summary = reports.summary()?;
    if let Some(path) = &summary.settings.web_stats {
        if let Err(sentence) = reports.publish(path, &summary) {
            log.error(sentence);
        }
        return Ok(());
    }
    let mut paragraphs = Vec::new();
    reports.visit(&mut |item| {
        paragraphs.extend(statistics::paragraphs(item, &summary));
        if paragraphs.len() >= PARAGRAPHS {
            log.report(std::mem::take(&mut paragraphs));
        }
        Ok(())
    })?;
    log.end_report(paragraphs);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::events::{Event, Read};
    use crate::daemon::mailbox;
    use crate::sys::root::Root;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_usr1_during_a_report_makes_one_more_after_it() {
        let (events, inbox) = mailbox::to_this_thread(8);
        let (entries, _log) = bounded(8);
        let reports = Reports { events, root: Root::new(None).unwrap(), turn: Arc::default() };
        let usr1 = start(reports, Log::new(entries)).unwrap();
        usr1.send(()).unwrap();
        let begun = || match inbox.next(Some(Duration::from_secs(30))) {
            Some(Event::Read(Read::Summary(reply))) => reply,
            other => panic!("{other:?}"),
        };
        let first = begun();
        usr1.send(()).unwrap();
        assert!(usr1.try_send(()).is_err(), "it holds one");
        assert!(inbox.next(Some(Duration::ZERO)).is_none(), "the first is not over");
        // The report fails, which ends it.
        drop(first);
        drop(begun());
        assert!(inbox.next(Some(Duration::from_millis(20))).is_none());
    }
}
