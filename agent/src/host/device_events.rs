//! What udev says when a drive comes or goes: a netlink socket that wakes the agent, so that nobody has to look every few
//! seconds. What a message says is not believed, only that there is something to look at.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;

/// Where udev repeats the kernel's events once its records are written. The kernel's own group is 1, and too early.
const UDEV_GROUP: u32 = 2;
/// Larger than any event: udev's own limit is 8 KiB.
const EVENT_BYTES: usize = 8 * 1024;

/// Events of devices. The kernel drops what does not fit the socket's buffer, and says so.
#[derive(Debug)]
pub struct DeviceEvents {
    /// A netlink socket. It is held as a datagram socket of another family, since all that is asked of it is `recv`.
    socket: UnixDatagram,
}

impl DeviceEvents {
    /// Listens from now on. To be called within a runtime.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, UDEV_GROUP))?;
        Ok(Self { socket: UnixDatagram::from_std(net::UnixDatagram::from(socket))? })
    }

    /// Waits for an event of a block device. Its name as the kernel has it; empty where events were lost.
    pub async fn next_block(&self) -> io::Result<String> {
        loop {
            self.socket.readable().await?;
            if let Some(name) = self.read()? {
                return Ok(name);
            }
        }
    }

    /// Apart, so that nobody keeps room for an event while there is none: not the waiting, and not its caller's stack.
    #[inline(never)]
    fn read(&self) -> io::Result<Option<String>> {
        let mut event = [0; EVENT_BYTES];
        match self.socket.try_recv(&mut event) {
            Ok(length) => Ok(block_device(&event[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(Some(String::new())),
            Err(error) => Err(error),
        }
    }
}

/// The device that an event is of, if it is a block device: `KEY=VALUE` pairs with a zero after each, behind a head.
fn block_device(event: &[u8]) -> Option<String> {
    let mut pairs = event.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
    let value = |key: &str| pairs.clone().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    if value("SUBSYSTEM") != Some("block") {
        return None;
    }
    let path = value("DEVPATH").or_else(|| pairs.next())?;
    Some(path.rsplit('/').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_wake_the_agent() {
        let event = |subsystem: &str| {
            format!(
                "libudev\0\u{1}\0\0ACTION=add\0DEVPATH=/devices/virtual/block/loop3\0SUBSYSTEM={subsystem}\0SEQNUM=12\0"
            )
        };
        assert_eq!(block_device(event("block").as_bytes()).as_deref(), Some("loop3"));
        assert_eq!(block_device(event("net").as_bytes()), None);
        assert_eq!(block_device(b"\xff\xfe\0"), None);
    }

    #[tokio::test]
    async fn the_socket_can_be_had_and_waits() {
        let events = DeviceEvents::open().unwrap();
        let soon = std::time::Duration::from_millis(20);
        // Whatever this machine's devices do meanwhile is an answer too; an error is none.
        if let Ok(event) = tokio::time::timeout(soon, events.next_block()).await {
            event.unwrap();
        }
    }
}
