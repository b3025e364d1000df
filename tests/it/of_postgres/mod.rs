//! Tests of what is nearest to PostgreSQL.
//!
//! * `itself`: of the servers that the tests have. `link`, `faults`: of the way to a server, `proxy` stands between. `look`: what lies in one is
//!   looked at. `migrations`: its tables are made, and changed from one version to the next. `checking`: they are asked whether they are right.

mod checking;
mod faults;
mod itself;
mod link;
mod look;
mod migrations;
mod proxy;

use crate::postgres::{Place, Server, Setup, Stop, contract_server, run, schema};
