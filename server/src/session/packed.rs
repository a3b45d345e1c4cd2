//! What every session has, in fewer bytes than the standard library takes for it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The address of a client, without the flow and the scope of IPv6; an IPv4 address that is
/// written as one of IPv6 comes back as what it is.
#[derive(Clone, Copy)]
pub(super) struct PackedAddress {
    ip: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for PackedAddress {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: address.port(),
        }
    }
}

impl From<PackedAddress> for SocketAddr {
    fn from(packed: PackedAddress) -> Self {
        let ip = Ipv6Addr::from_octets(packed.ip).to_canonical();
        Self::new(ip, packed.port)
    }
}

/// A time after the beginning of 1970 and before 2554, to the nanosecond.
#[derive(Clone, Copy)]
pub(super) struct PackedTime(u64);

impl From<SystemTime> for PackedTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<PackedTime> for SystemTime {
    fn from(PackedTime(nanos): PackedTime) -> Self {
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for (address, expected) in [
            ("192.0.2.1:3010", "192.0.2.1:3010"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1:1"),
            ("[fe80::1%3]:1", "[fe80::1]:1"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::]:0", "[::]:0"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let packed = PackedAddress::from(address);
            assert_eq!(SocketAddr::from(packed).to_string(), expected);
        }
        let time = UNIX_EPOCH + Duration::new(1_795_294_800, 123_456_789);
        assert_eq!(SystemTime::from(PackedTime::from(time)), time);
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(SystemTime::from(PackedTime::from(before)), UNIX_EPOCH);
    }
}
