//! The network interfaces and their addresses.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use crate::error::Result;
use crate::sys::interfaces::{self, Address, Entry};

/// An address of a network interface (`uv_interface_address_t`); an interface with several has
/// several of these.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceAddress {
    /// The name of the interface, such as `"eth0"`.
    pub name: OsString,
    /// The address.
    pub address: IpAddr,
    /// The mask of its network, of the same family.
    pub netmask: IpAddr,
    /// The hardware's address; zeros where there is none.
    pub mac: [u8; 6],
    /// Whether it is the loopback, which no other machine sees.
    pub internal: bool,
    /// For IPv6 the number of the interface that a link-local address belongs to, else 0
    /// (ipv6(7)).
    pub scope_id: u32,
}

impl InterfaceAddress {
    /// The bits of the network in the address, as after the slash in `192.0.2.2/24`; `None` for a
    /// mask with holes.
    ///
    /// ```
    /// for address in blacklight::os::interface_addresses()? {
    ///     if let Some(bits) = address.prefix_length() {
    ///         println!("{} {}/{bits}", address.name.display(), address.address);
    ///     }
    /// }
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    #[must_use]
    pub fn prefix_length(&self) -> Option<u32> {
        // The mask at the top of 128 bits; what follows it there is zeros.
        let mask = match self.netmask {
            IpAddr::V4(mask) => u128::from(mask.to_bits()) << 96,
            IpAddr::V6(mask) => mask.to_bits(),
        };
        let ones = mask.leading_ones();
        (mask.count_ones() == ones).then_some(ones)
    }
}

/// The addresses of the interfaces that are up and running (`uv_interface_addresses`), in the order
/// of the kernel: all IPv4, then all IPv6.
///
/// # Errors
/// What the kernel's netlink socket says: `EMFILE`, `ENFILE`, `ENOMEM`, or `EAFNOSUPPORT` where
/// there is none.
///
/// ```
/// let addresses = blacklight::os::interface_addresses()?;
/// assert!(addresses.iter().all(|address| address.address.is_ipv4() == address.netmask.is_ipv4()));
/// # Ok::<(), blacklight::Error>(())
/// ```
pub fn interface_addresses() -> Result<Vec<InterfaceAddress>> {
    let running = (libc::IFF_UP | libc::IFF_RUNNING).cast_unsigned();
    let mut entries = interfaces::entries()?;
    entries.retain(|entry| entry.flags & running == running);
    Ok(listed(&entries))
}

fn listed(entries: &[Entry]) -> Vec<InterfaceAddress> {
    let one = |entry: &Entry| {
        let Address::Ip(address, scope_id) = entry.address else { return None };
        // Without a mask, which tunnels may lack, the address is its own network.
        let netmask = entry.netmask.filter(|mask| mask.is_ipv4() == address.is_ipv4());
        let whole = match address {
            IpAddr::V4(_) => IpAddr::from([0xff; 4]),
            IpAddr::V6(_) => IpAddr::from([0xff; 16]),
        };
        Some(InterfaceAddress {
            name: entry.name.clone(),
            address,
            netmask: netmask.unwrap_or(whole),
            mac: mac_of(&entry.name, entries),
            internal: entry.flags & libc::IFF_LOOPBACK.cast_unsigned() != 0,
            scope_id,
        })
    };
    entries.iter().filter_map(one).collect()
}

/// The hardware address of an interface, or of the one that it is an alias of (`eth0:1`).
fn mac_of(name: &OsStr, entries: &[Entry]) -> [u8; 6] {
    let whole = name.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    let hardware = entries.iter().find_map(|entry| match entry.address {
        Address::Hardware(mac) if entry.name.as_bytes() == whole => Some(mac),
        _ => None,
    });
    hardware.unwrap_or_default()
}

/// The name of the interface with this number (`uv_if_indextoname`); `uv_if_indextoiid` is the same
/// on Linux.
///
/// # Errors
/// `ENXIO` when there is none.
///
/// ```
/// use blacklight::{Error, os};
///
/// assert_eq!(os::if_indextoname(0), Err(Error::ENXIO));
/// ```
pub fn if_indextoname(index: u32) -> Result<OsString> {
    interfaces::name(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, address: Address, netmask: Option<&str>) -> Entry {
        let netmask = netmask.map(|mask| mask.parse().unwrap());
        Entry { name: name.into(), flags: 0, address, netmask }
    }

    #[test]
    fn an_alias_has_the_hardware_address_of_its_interface() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap(), 0);
        let entries = [
            entry("eth", Address::Hardware([9; 6]), None),
            entry("eth0", Address::Hardware([1; 6]), None),
            entry("eth0:1", ip("192.0.2.1"), Some("255.255.255.0")),
            entry("tun0", ip("192.0.2.2"), None),
        ];
        let found = listed(&entries);
        assert_eq!((found[0].mac, found[0].prefix_length()), ([1; 6], Some(24)));
        assert_eq!((found[1].mac, found[1].prefix_length()), ([0; 6], Some(32)));
    }

    #[test]
    fn masks_with_holes_have_no_length() {
        let with = |mask: &str| {
            let address = if mask.contains(':') { "::1" } else { "192.0.2.1" };
            listed(&[entry("a", Address::Ip(address.parse().unwrap(), 0), Some(mask))])[0]
                .prefix_length()
        };
        assert_eq!(with("255.0.255.0"), None);
        assert_eq!(with("0.0.0.0"), Some(0));
        assert_eq!(with("ffff:ffff:ffff:ffff::"), Some(64));
        assert_eq!(with("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(128));
    }
}
