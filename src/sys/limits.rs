//! What this host grants to the sessions: open files, threads, and memory mappings.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::address_space;

/// Descriptors that are neither sessions, listeners nor pipes. Ten are always open or may be: the standard streams, the pid file, the
/// signals' two, syslog, the process's size, the request log, and its successor while it is opened again. The others are for a client
/// of the control port and for the file that its command reads or writes.
const OTHERS: u64 = 12;

/// Descriptors of one listener: its own, and that of the client that is accepted.
const PER_LISTENER: u64 = 2;

/// Descriptors of one pipe.
const PER_PIPE: u64 = 2;

/// Descriptors that are good to have: clients of the control port, up to 64, and a file for each.
const SPARE: u64 = 128;

/// Descriptors of one session: the client's and the server's.
const PER_SESSION: u64 = 2;

/// Descriptors of one flow of datagrams: the server's.
const PER_FLOW: u64 = 1;

/// The fewest and the most clients of the web page at once.
const PAGE_CLIENTS: (u64, u64) = (4, 64);

/// Descriptors for each client of the web page: with the usual limit of 1024 the page has all its places, and with less of them sessions
/// do not lose more than a sixteenth.
const PER_PAGE_CLIENT: u64 = 16;

/// Descriptors that idlers leave to clients, who take them before idlers are closed for more.
const HEADROOM: u64 = 16;

/// Memory mappings of one thread: its stack, the guard page below it, and the same for the stack of its signal handlers, which the
/// standard library gives to each thread (counted in /proc/PID/maps: 1000 sessions have 4000 mappings).
const PER_THREAD: u64 = 4;

/// Other mappings: the program and its libraries have about 100, [`OTHER_THREADS`] and the clients of the control port 400, large
/// tables one each.
const OTHER_MAPPINGS: u64 = 1024;

/// Mappings of the allocator for each core: it has up to eight heaps (mallopt(3), `M_ARENA_MAX`), of two mappings each.
const PER_CORE: u64 = 16;

/// Threads that are not workers: fourteen run all the time, and some are left for more addresses, the status page, and more clients of
/// the control port.
const OTHER_THREADS: u64 = 16;

/// The limits of this host that are found in files. They are read once, since they cannot be seen from a jail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host {
    /// The most memory mappings of a process: `vm.max_map_count`.
    mappings: Option<u64>,
    /// The most threads of the control group, and of those that it is part of: `pids.max`.
    tasks: Option<u64>,
    cores: u64,
}

/// What pen would like to have.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Sessions are flows of datagrams, which have no threads and no descriptors for clients.
    pub flows: bool,
    /// Sessions at once.
    pub sessions: usize,
    /// Listeners for clients and for the control port.
    pub listeners: usize,
    /// Listeners of the web page.
    pub pages: usize,
    /// Pipes between sockets.
    pub pipes: usize,
    /// Idle connections.
    pub idlers: usize,
    /// Checks of servers.
    pub checks: usize,
}

impl Demand {
    fn per_session(&self) -> u64 {
        if self.flows { PER_FLOW } else { PER_SESSION }
    }
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many sessions there may be at once, at most as many as were asked for.
    pub sessions: usize,
    /// How many pipes: from what the sessions leave.
    pub pipes: usize,
    /// The descriptors that sessions, pipes and idlers share.
    descriptors: u64,
    /// Why there are fewer.
    pub scarce: Option<Scarce>,
}

/// A limit that sessions meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// `RLIMIT_NOFILE`.
    OpenFiles,
    /// `vm.max_map_count`.
    Mappings,
    /// `RLIMIT_NPROC`.
    Processes,
    /// `pids.max`.
    Tasks,
}

impl Host {
    /// Reads the limits. What cannot be read is no limit: then threads are refused when it is met.
    pub fn read() -> Self {
        address_space::open();
        Self {
            mappings: number(Path::new("/proc/sys/vm/max_map_count")),
            tasks: tasks(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
            cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
        }
    }

    /// Raises the soft limit on open files to what is asked for, as far as the hard limit (and, for root, the kernel) lets it. Tells
    /// what the limits of this process and this host are enough for. Sessions come first.
    pub fn grant(self, asked: Demand) -> Grant {
        let sessions = asked.sessions as u64 * asked.per_session();
        let pipes = asked.pipes as u64 * PER_PIPE;
        let others = OTHERS + asked.checks as u64 + (asked.listeners + asked.pages) as u64 * PER_LISTENER;
        let guests = |most: u64| if asked.pages > 0 { most } else { 0 };
        let limit = raise_open_files(sessions + pipes + asked.idlers as u64 + others + guests(PAGE_CLIENTS.1) + SPARE);
        let others = others + guests(page_clients_within(limit));
        // It does not hold for root (getrlimit(2)).
        let processes = if geteuid().is_root() { None } else { getrlimit(Resource::Nproc).current };
        let bounds = [
            (Scarce::OpenFiles, Some(limit.saturating_sub(others) / asked.per_session())),
            (Scarce::Mappings, self.mappings.map(|most| threads_within(most, self.cores))),
            (Scarce::Processes, processes.map(|most| most.saturating_sub(OTHER_THREADS))),
            (Scarce::Tasks, self.tasks.map(|most| most.saturating_sub(OTHER_THREADS))),
        ];
        let bounds =
            bounds.map(|(scarce, most)| (scarce, most.filter(|_| !asked.flows || scarce == Scarce::OpenFiles)));
        let (sessions, scarce) = smallest(asked.sessions, bounds);
        share(limit.saturating_sub(others), Grant { sessions, pipes: asked.pipes, descriptors: 0, scarce })
    }
}

impl Grant {
    /// How many idlers there may be beside so many sessions.
    pub fn idlers(&self, sessions: usize) -> usize {
        let taken = sessions as u64 * PER_SESSION + self.pipes as u64 * PER_PIPE + HEADROOM;
        usize::try_from(self.descriptors.saturating_sub(taken)).unwrap_or(usize::MAX)
    }

    /// What to tell the administrator who has asked for that many sessions; `None` if they are granted.
    pub fn warning(&self, asked: usize) -> Option<String> {
        let scarce = self.scarce?;
        Some(format!("{scarce} is enough for {} connections, not {asked}: see {}", self.sessions, scarce.remedy()))
    }
}

impl Scarce {
    fn remedy(self) -> &'static str {
        match self {
            Self::OpenFiles => "ulimit -n",
            Self::Mappings => "sysctl(8)",
            Self::Processes => "ulimit -u",
            Self::Tasks => "TasksMax in systemd.resource-control(5)",
        }
    }
}

impl fmt::Display for Scarce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFiles => "the limit on open files",
            Self::Mappings => "vm.max_map_count",
            Self::Processes => "the limit on processes",
            Self::Tasks => "pids.max of the control group",
        })
    }
}

/// The sessions that all bounds allow, and why they are fewer than that. At least one: the limit may be an error.
fn smallest<const N: usize>(asked: usize, bounds: [(Scarce, Option<u64>); N]) -> (usize, Option<Scarce>) {
    let known = bounds.into_iter().filter_map(|(scarce, most)| Some((scarce, usize::try_from(most?).ok()?)));
    match known.min_by_key(|(_, most)| *most).filter(|(_, most)| *most < asked) {
        Some((scarce, most)) => (most.max(1), Some(scarce)),
        None => (asked, None),
    }
}

/// How many clients the web page may have at once with the limit on open files that there is now.
pub fn page_clients() -> usize {
    page_clients_within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)) as usize
}

fn page_clients_within(limit: u64) -> u64 {
    (limit / PER_PAGE_CLIENT).clamp(PAGE_CLIENTS.0, PAGE_CLIENTS.1)
}

/// Shares so many descriptors: pipes get what the sessions leave.
fn share(descriptors: u64, grant: Grant) -> Grant {
    let left = descriptors.saturating_sub(grant.sessions as u64 * PER_SESSION) / PER_PIPE;
    Grant { pipes: grant.pipes.min(usize::try_from(left).unwrap_or(usize::MAX)), descriptors, ..grant }
}

/// How many workers there may be with so many mappings.
fn threads_within(mappings: u64, cores: u64) -> u64 {
    mappings.saturating_sub(OTHER_MAPPINGS + cores * PER_CORE) / PER_THREAD
}

/// Raises the soft limit on open files so that there are that many descriptors beside some others, if possible. Tells how many there are,
/// at least one.
pub fn descriptors(wished: usize) -> usize {
    let limit = raise_open_files(wished as u64 + SPARE);
    usize::try_from(limit.saturating_sub(SPARE)).unwrap_or(usize::MAX).clamp(1, wished)
}

/// Raises the soft limit on open files, if it is lower than that. Returns what it is then.
fn raise_open_files(wished: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wished {
        return current;
    }
    set(wished, limit.maximum.map(|max| max.max(wished)))
        .or_else(|_| set(limit.maximum.unwrap_or(wished).min(wished).max(current), limit.maximum))
        .unwrap_or(current)
}

fn set(current: u64, maximum: Option<u64>) -> io::Result<u64> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })?;
    Ok(current)
}

/// The least `pids.max` of the control groups that the process is in (cgroups(7)): `groups` lists them, `root` is where they are
/// mounted. There is one hierarchy, or one for this controller alone.
fn tasks(groups: &Path, root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(groups).ok()?;
    let paths = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let mount = match controllers {
            "" => root.to_path_buf(),
            _ if controllers.split(',').any(|controller| controller == "pids") => root.join("pids"),
            _ => return None,
        };
        Some((mount.join(path.trim_start_matches('/')), mount))
    });
    let within = |(path, mount): (std::path::PathBuf, std::path::PathBuf)| {
        let found = path.ancestors().take_while(|folder| folder.starts_with(&mount));
        found.filter_map(|folder| number(&folder.join("pids.max"))).min()
    };
    paths.filter_map(within).min()
}

/// The number in a file. `None`: there is no such file, or no limit (`max`).
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    #[test]
    fn each_worker_needs_four_mappings_and_each_core_some() {
        assert_eq!(threads_within(65530, 1), 16122);
        assert_eq!(threads_within(65530, 16), 16062);
        assert_eq!(threads_within(100, 1), 0);
    }

    #[test]
    fn the_smallest_bound_decides_and_is_named() {
        let bounds = |files, mappings| [(Scarce::OpenFiles, files), (Scarce::Mappings, mappings)];
        assert_eq!(smallest(500, bounds(Some(500), None)), (500, None));
        assert_eq!(smallest(500, bounds(Some(400), Some(300))), (300, Some(Scarce::Mappings)));
        assert_eq!(smallest(500, bounds(Some(0), None)), (1, Some(Scarce::OpenFiles)));
        let grant = |scarce| Grant { sessions: 300, pipes: 8, descriptors: 0, scarce };
        assert_eq!(grant(None).warning(300), None);
        let warning = grant(Some(Scarce::Mappings)).warning(500).unwrap();
        assert_eq!(warning, "vm.max_map_count is enough for 300 connections, not 500: see sysctl(8)");
    }

    #[test]
    fn the_page_leaves_most_descriptors_to_sessions() {
        assert_eq!([0, 64, 200, 1023, 1024, u64::MAX].map(page_clients_within), [4, 4, 12, 63, 64, 64]);
    }

    #[test]
    fn pipes_get_what_sessions_leave_and_idlers_what_sessions_do_not_use() {
        let asked = Grant { sessions: 24, pipes: 8, descriptors: 0, scarce: None };
        assert_eq!(share(48, asked).pipes, 0);
        assert_eq!(share(53, asked).pipes, 2);
        assert_eq!(share(1000, asked).pipes, 8);
        let grant = share(100, asked);
        assert_eq!([0, 10, 24, 34, 50].map(|used| grant.idlers(used)), [68, 48, 20, 0, 0]);
    }

    #[test]
    fn the_control_group_with_the_least_threads_counts_in_both_versions() {
        let root = env::temp_dir().join(format!("pen-cgroup-{}", std::process::id()));
        let (groups, unified, own) = (root.join("cgroup"), root.join("a/b"), root.join("pids/a"));
        fs::create_dir_all(&unified).unwrap();
        fs::create_dir_all(&own).unwrap();
        fs::write(unified.join("pids.max"), "max\n").unwrap();
        fs::write(root.join("a/pids.max"), "4915\n").unwrap();
        fs::write(own.join("pids.max"), "70\n").unwrap();
        for (text, expected) in [
            ("0::/a/b\n", Some(4915)),
            ("9:cpu:/a\n4:misc,pids:/a\n0::/a/b\n", Some(70)),
            ("0::/\n", None),
            ("4:cpu:/a\n", None),
            ("nonsense\n", None),
        ] {
            fs::write(&groups, text).unwrap();
            assert_eq!(tasks(&groups, &root), expected, "{text}");
        }
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(tasks(&groups, &root), None);
    }
}
