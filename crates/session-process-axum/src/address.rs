//! Whom a request comes from, where the application doesn't say.

use http::request::Parts;

/// The peer's address as axum notes it. Of IPv6 the network: whoever has one address of it has all 2⁶⁴.
#[cfg(feature = "connect-info")]
pub(crate) fn peer(parts: &Parts) -> Option<String> {
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};

    use axum::extract::ConnectInfo;

    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(match peer.ip().to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            format!("{network}/64")
        }
    })
}

/// Nobody says.
#[cfg(not(feature = "connect-info"))]
pub(crate) fn peer(_: &Parts) -> Option<String> {
    None
}

#[cfg(all(test, feature = "connect-info"))]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;

    use super::*;

    #[test]
    fn a_host_is_its_address_and_in_ipv6_its_network() {
        for (peer_address, expected) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[::ffff:198.51.100.7]:4711", "198.51.100.7"),
            ("[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2::/64"),
        ] {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            assert_eq!(peer(&parts), None);
            let address: SocketAddr = peer_address.parse().unwrap();
            parts.extensions.insert(ConnectInfo(address));
            assert_eq!(peer(&parts).as_deref(), Some(expected));
        }
    }
}
