//! How often a password may be tried, per name and per address.
//!
//! Buckets rather than locks: an attacker can slow the owner of a name down, but not shut them out for long.
//! Names that do not exist have buckets too, so that being slowed tells nothing. In memory: a restart forgives, and
//! a restart is nothing a guesser can cause.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const BUCKETS_MAX: usize = 10_000;

/// What tries are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A login name as typed.
    Name(String),
    /// Where the request came from; of IPv6 the network, since one customer has a whole one.
    Peer(IpAddr),
}

impl Key {
    pub(super) fn peer(address: IpAddr) -> Self {
        Self::Peer(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// Tries at once, and how long until one comes back.
    fn allowance(&self) -> (f64, Duration) {
        match self {
            Self::Name(_) => (5.0, Duration::from_secs(30)),
            Self::Peer(_) => (20.0, Duration::from_secs(10)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn at(self, key: &Key, now: Instant) -> Self {
        let (most, each) = key.allowance();
        let back = now.saturating_duration_since(self.at).as_secs_f64() / each.as_secs_f64();
        Self { left: (self.left + back).min(most), at: now }
    }
}

/// The tries that are left.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: Mutex<HashMap<Key, Bucket>>,
}

impl Throttle {
    /// Takes one try of every key, or none and says how long to wait. Taken before the outcome is known, so that
    /// many at once do not slip through.
    pub(super) fn take(&self, keys: &[Key], now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |key: &Key| Bucket { left: key.allowance().0, at: now };
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let bucket = buckets.get(key).map_or_else(|| full(key), |bucket| bucket.at(key, now));
            if bucket.left < 1.0 {
                return Err(key.allowance().1.mul_f64(1.0 - bucket.left));
            }
            taken.push((key.clone(), Bucket { left: bucket.left - 1.0, at: now }));
        }
        if buckets.len() + keys.len() > BUCKETS_MAX {
            make_room(&mut buckets, now);
        }
        buckets.extend(taken);
        Ok(())
    }

    /// Gives the tries back: the password was right.
    pub(super) fn give_back(&self, keys: &[Key]) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(bucket) = buckets.get_mut(key) {
                bucket.left = (bucket.left + 1.0).min(key.allowance().0);
            }
        }
    }
}

/// Drops buckets that are full again; if too many are not, those from which least was taken.
fn make_room(buckets: &mut HashMap<Key, Bucket>, now: Instant) {
    buckets.retain(|key, bucket| bucket.at(key, now).left < key.allowance().0);
    if buckets.len() <= BUCKETS_MAX / 2 {
        return;
    }
    let taken = |key: &Key, bucket: &Bucket| key.allowance().0 - bucket.at(key, now).left;
    let mut amounts: Vec<f64> = buckets.iter().map(|(key, bucket)| taken(key, bucket)).collect();
    amounts.sort_by(f64::total_cmp);
    let median = amounts[amounts.len() / 2];
    buckets.retain(|key, bucket| taken(key, bucket) > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Key {
        Key::Name(name.to_owned())
    }

    #[test]
    fn a_name_has_five_tries_and_gets_one_back_every_half_minute() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            throttle.take(&[name("anna")], start).unwrap();
        }
        let wait = throttle.take(&[name("anna")], start).unwrap_err();
        assert!(wait <= Duration::from_secs(30) && wait > Duration::from_secs(29));
        throttle.take(&[name("bela")], start).unwrap();
        throttle.take(&[name("anna")], start + Duration::from_secs(31)).unwrap();
        throttle.take(&[name("anna")], start + Duration::from_secs(32)).unwrap_err();
    }

    #[test]
    fn an_address_runs_out_however_many_names_it_tries() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let in_one_network = |n: u128| Key::peer(IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) + n)));
        for n in 0..20 {
            throttle.take(&[name(&n.to_string()), in_one_network(n)], now).unwrap();
        }
        throttle.take(&[name("20"), in_one_network(20)], now).unwrap_err();
        assert_eq!(Key::peer("::ffff:192.0.2.1".parse().unwrap()), Key::peer("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_right_password_costs_no_try() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..50 {
            throttle.take(&[name("anna")], now).unwrap();
            throttle.give_back(&[name("anna")]);
        }
    }

    #[test]
    fn many_names_take_bounded_memory_and_do_not_free_a_name_under_attack() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            throttle.take(&[name("anna")], now).unwrap();
        }
        for n in 0..BUCKETS_MAX * 2 {
            throttle.take(&[name(&n.to_string())], now).unwrap();
        }
        assert!(throttle.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        throttle.take(&[name("anna")], now).unwrap_err();
    }
}
