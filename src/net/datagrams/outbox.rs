//! Receives what servers answer, and sends it to the clients in batches.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recv, recvmmsg, sendmmsg,
};

use super::{BATCH, LARGEST, Return};

/// Memory for a batch of answers on their way. Of a short one only its first page is touched.
#[derive(Debug)]
pub struct Outbox {
    memory: Vec<u8>,
    /// For sockets that are connected, so that all that comes has the same address.
    connected: MultiHeaders<()>,
    v4: Headers<SockaddrIn>,
    v6: Headers<SockaddrIn6>,
    queue: Vec<Answer>,
}

/// Headers of what is sent, without an address of this host and with one.
#[derive(Debug)]
struct Headers<S> {
    plain: MultiHeaders<S>,
    from: MultiHeaders<S>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    length: usize,
    door: usize,
    back: Return,
}

/// What a server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many datagrams.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            memory: vec![0; BATCH * LARGEST],
            connected: MultiHeaders::preallocate(BATCH, None),
            v4: Headers::new(cmsg_space!(in_pktinfo)),
            v6: Headers::new(cmsg_space!(in6_pktinfo)),
            queue: Vec::with_capacity(BATCH),
        }
    }

    /// Whether nothing can be received before what is there was sent.
    pub fn is_full(&self) -> bool {
        self.queue.len() == BATCH
    }

    /// Takes what a server has sent to a connected socket, up to `most` datagrams and as far as there is room, to be sent through that
    /// door. Never blocks. The kernel looks for each of them, so that to ask for more than there are costs time.
    pub fn receive(&mut self, socket: &OwnedFd, most: usize, door: usize, back: Return) -> Result<Received, Errno> {
        let begin = self.queue.len();
        let room = &mut self.memory[begin * LARGEST..];
        if most <= 1 {
            // For one datagram this call has less to do in the kernel.
            let length = recv(socket.as_raw_fd(), &mut room[..LARGEST], MsgFlags::MSG_DONTWAIT)?;
            self.queue.push(Answer { length, door, back });
            return Ok(Received { count: 1, bytes: length });
        }
        let places = room.chunks_exact_mut(LARGEST).take(most.max(1));
        let mut parts: Vec<_> = places.map(|part| [IoSliceMut::new(part)]).collect();
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.connected, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
        self.queue.extend(messages.map(|message| Answer { length: message.bytes, door, back }));
        let new = &self.queue[begin..];
        let bytes = new.iter().map(|answer| answer.length).sum();
        Ok(Received { count: new.len(), bytes })
    }

    /// The last so many answers.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let begin = self.queue.len() - count;
        let numbered = self.queue.iter().enumerate().skip(begin);
        numbered.map(|(number, answer)| &self.memory[number * LARGEST..][..answer.length])
    }

    /// Sends everything, except through doors that are gone. What the kernel has no room for, or has no way to, is dropped, as everything is on its way there. Never
    /// blocks.
    pub fn flush<'a>(&mut self, door: impl Fn(usize) -> Option<&'a OwnedFd>) {
        let Self { memory, v4, v6, queue, .. } = self;
        let mut begin = 0;
        while begin < queue.len() {
            let Answer { door: number, back: Return { local, client }, .. } = queue[begin];
            // On an IPv6 socket all clients have IPv6 addresses.
            let is_alike = |answer: &&Answer| answer.door == number && answer.back.local == local;
            let count = queue[begin..].iter().take_while(is_alike).count();
            let answers = Answers { memory, first: begin, list: &queue[begin..begin + count] };
            begin += count;
            let Some(socket) = door(number) else { continue };
            match client {
                SocketAddr::V4(_) => answers.send(socket, v4, local, |client| match client {
                    SocketAddr::V4(client) => SockaddrIn::from(client),
                    SocketAddr::V6(_) => SockaddrIn::new(0, 0, 0, 0, 0),
                }),
                SocketAddr::V6(_) => answers.send(socket, v6, local, |client| match client {
                    SocketAddr::V6(client) => SockaddrIn6::from(client),
                    SocketAddr::V4(client) => SockaddrIn6::from(std::net::SocketAddrV6::new(
                        client.ip().to_ipv6_mapped(),
                        client.port(),
                        0,
                        0,
                    )),
                }),
            }
        }
        queue.clear();
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: SockaddrLike + Copy> Headers<S> {
    fn new(space: Vec<u8>) -> Self {
        Self { plain: MultiHeaders::preallocate(BATCH, None), from: MultiHeaders::preallocate(BATCH, Some(space)) }
    }
}

/// Answers that leave through the same door from the same address.
struct Answers<'a> {
    memory: &'a [u8],
    /// The place of the first in the memory.
    first: usize,
    list: &'a [Answer],
}

impl Answers<'_> {
    fn send<S: SockaddrLike + Copy>(
        &self,
        socket: &OwnedFd,
        headers: &mut Headers<S>,
        local: Option<IpAddr>,
        address: impl Fn(SocketAddr) -> S,
    ) {
        let part = |(number, answer): (usize, &Answer)| {
            [IoSlice::new(&self.memory[(self.first + number) * LARGEST..][..answer.length])]
        };
        let parts: Vec<_> = self.list.iter().enumerate().map(part).collect();
        let clients: Vec<_> = self.list.iter().map(|answer| Some(address(answer.back.client))).collect();
        let source = local.map(Source::new);
        let messages: Vec<_> = source.iter().map(Source::message).collect();
        let headers = if local.is_some() { &mut headers.from } else { &mut headers.plain };
        let mut done = 0;
        while done < parts.len() {
            let flags = MsgFlags::MSG_DONTWAIT;
            let sent = sendmmsg(socket.as_raw_fd(), headers, &parts[done..], &clients[done..], &messages, flags);
            done += match sent {
                Ok(sent) => sent.count().max(1),
                Err(Errno::EINTR) => 0,
                // There is no room.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return,
                // There is no way to that client.
                Err(_) => 1,
            };
        }
    }
}

/// The address of this host that an answer comes from.
enum Source {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Source {
    /// The interface is left to the routing table: the way back may be another than the way here.
    fn new(local: IpAddr) -> Self {
        match local {
            IpAddr::V4(ip) => {
                let address = |ip: [u8; 4]| in_addr { s_addr: u32::from_ne_bytes(ip) };
                Self::V4(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address(ip.octets()), ipi_addr: address([0; 4]) })
            }
            IpAddr::V6(ip) => Self::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 }),
        }
    }

    fn message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}
