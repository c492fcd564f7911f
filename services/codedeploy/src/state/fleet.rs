//! Minimum healthy hosts.
//!
//! Rules: <https://docs.aws.amazon.com/codedeploy/latest/userguide/instances-health.html>,
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_MinimumHealthyHosts.html>. A percentage
//! is of all hosts of the deployment and is rounded up when the deployment starts.
//!
//! **Invariant.** [`Fleet::healthy`] never falls below [`Fleet::minimum`]: a host is taken only while one
//! more may be unhealthy, and a failed host stays unhealthy until the deployment ends.

use serde::{Deserialize, Serialize};

/// A deployment configuration's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinimumHealthy {
    HostCount(u32),
    FleetPercent(u32),
    /// `CodeDeployDefault.OneAtATime`: all but so many.
    MostConcurrency(u32),
}

impl MinimumHealthy {
    /// How many of `fleet` hosts must be healthy at any time.
    pub fn of(self, fleet: u32) -> u32 {
        match self {
            MinimumHealthy::HostCount(count) => count,
            MinimumHealthy::FleetPercent(percent) => {
                let hosts = (u64::from(fleet) * u64::from(percent)).div_ceil(100);
                u32::try_from(hosts).unwrap_or(u32::MAX)
            }
            MinimumHealthy::MostConcurrency(count) => fleet.saturating_sub(count),
        }
    }

    /// `type` and `value` as GetDeploymentConfig shows them.
    pub fn parts(self) -> (&'static str, u32) {
        match self {
            MinimumHealthy::HostCount(count) => ("HOST_COUNT", count),
            MinimumHealthy::FleetPercent(percent) => ("FLEET_PERCENT", percent),
            MinimumHealthy::MostConcurrency(count) => ("MOST_CONCURRENCY", count),
        }
    }
}

/// The hosts of one deployment, counted by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    pub minimum: u32,
    /// Hosts of the group that have the revision already and are left alone.
    pub up_to_date: u32,
    pub pending: u32,
    pub in_progress: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Fleet {
    pub fn new(rule: MinimumHealthy, pending: u32, up_to_date: u32) -> Fleet {
        Fleet { minimum: rule.of(pending + up_to_date), pending, up_to_date, ..Fleet::default() }
    }

    pub fn total(&self) -> u32 {
        self.up_to_date + self.pending + self.in_progress + self.succeeded + self.failed + self.skipped
    }

    /// Hosts that serve: everything except what is being deployed to and what failed.
    pub fn healthy(&self) -> u32 {
        self.total() - self.in_progress - self.failed
    }

    /// How many waiting hosts may be taken now.
    pub fn room(&self) -> u32 {
        self.healthy().saturating_sub(self.minimum).min(self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_up() {
        assert_eq!(MinimumHealthy::FleetPercent(50).of(9), 5);
        assert_eq!(MinimumHealthy::FleetPercent(40).of(9), 4);
        assert_eq!(MinimumHealthy::FleetPercent(95).of(1), 1);
        assert_eq!(MinimumHealthy::FleetPercent(0).of(9), 0);
        assert_eq!(MinimumHealthy::FleetPercent(99).of(u32::MAX), 4_252_017_623);
    }

    #[test]
    fn amazons_example_of_nine_hosts() {
        let six = Fleet::new(MinimumHealthy::HostCount(6), 9, 0);
        assert_eq!(six.room(), 3);
        let forty = Fleet::new(MinimumHealthy::FleetPercent(40), 9, 0);
        assert_eq!(forty.room(), 5);
        assert_eq!(Fleet::new(MinimumHealthy::MostConcurrency(1), 9, 0).room(), 1);
        assert_eq!(Fleet::new(MinimumHealthy::FleetPercent(0), 9, 0).room(), 9);
    }
}
