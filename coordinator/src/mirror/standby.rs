//! A standby keeps up with its leader.

use std::time::Duration;

use client::Connection;
use proto::v1;
use tokio::time::{Instant, sleep, timeout};

use super::pages::{PageCopies, tidy};
use super::{Holdings, MirrorError, blocking, checkpoints, connect};
use crate::server::{Role, Roles};
use crate::store::RunStore;

/// The time between two passes.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// The time between two looks for pages that nobody lists.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// How long the leader may take to say what it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Copies what the leader has and is not here, for ever. `address` is where
/// this standby would lead.
pub(crate) async fn keep_up(store: RunStore, holdings: Holdings, roles: Roles, address: String) {
    let mut copies = Copies {
        store,
        holdings,
        pages: PageCopies::default(),
        fetched: (0, 0),
        tidied: None,
    };
    let mut link: Option<(String, Connection)> = None;
    let mut last_problem = String::new();
    loop {
        if let Some(leader) = roles
            .as_standby()
            .leader
            .filter(|leader| *leader != address)
        {
            link = link.filter(|(known, _)| *known == leader);
            let passed = async {
                let connection = match &link {
                    Some((_, connection)) => connection.clone(),
                    None => connect(&leader)?,
                };
                link = Some((leader.clone(), connection.clone()));
                copies.pass(&connection, &address, &roles).await
            };
            match passed.await {
                Ok(()) => last_problem.clear(),
                Err(error) => {
                    let problem = error.to_string();
                    if problem != last_problem {
                        tracing::warn!("copying from the leader at {leader}: {problem}");
                        last_problem = problem;
                    }
                }
            }
        }
        sleep(PASS_EVERY).await;
    }
}

struct Copies {
    store: RunStore,
    holdings: Holdings,
    pages: PageCopies,
    /// Pages and checkpoints so far.
    fetched: (usize, usize),
    tidied: Option<Instant>,
}

impl Copies {
    async fn pass(
        &mut self,
        connection: &Connection,
        address: &str,
        roles: &Roles,
    ) -> Result<(), MirrorError> {
        let leader = describe(connection, address).await?;
        let Some(context) = leader.context else {
            // It does not lead yet, or not any more.
            return Ok(());
        };
        let holdings = self.holdings.clone();
        blocking(move || holdings.belong_to(&context.run_id)).await?;
        if leader.state_dir == self.holdings.id() {
            say(roles, "shares the leader's state directory");
            return Ok(());
        }
        // The leader hears that this standby is there however long copying takes.
        let present = async {
            loop {
                sleep(PASS_EVERY).await;
                // Whether it answers is seen in the next pass.
                let _ = describe(connection, address).await;
            }
        };
        tokio::select! {
            copied = self.copy(connection) => copied?,
            () = present => {}
        }
        let (pages, checkpoints) = self.fetched;
        say(
            roles,
            &format!("keeps copies; fetched {pages} pages and {checkpoints} checkpoints so far"),
        );
        Ok(())
    }

    async fn copy(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        let packed = self.holdings.packed().clone();
        let pages = self.pages.copy(&self.store, &packed, connection).await?;
        self.fetched.0 += pages.fetched;
        self.fetched.1 += checkpoints::copy(&self.store, &self.holdings, connection).await?;
        if self.tidied.is_none_or(|at| at.elapsed() > TIDY_EVERY) {
            let removed = tidy(&self.store, &packed).await?;
            if removed > 0 {
                tracing::info!("removed {removed} packed pages that no row lists");
            }
            self.tidied = Some(Instant::now());
        }
        Ok(())
    }
}

/// Asks a coordinator what it is, and says who asks.
pub(super) async fn describe(
    connection: &Connection,
    standby: &str,
) -> Result<v1::DescribeResponse, MirrorError> {
    let mut coordinators = connection.coordinators();
    let request = v1::DescribeRequest {
        standby: standby.to_owned(),
    };
    let answer = timeout(ANSWER_TIMEOUT, coordinators.describe(request)).await;
    let answer = answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
    let described = answer.map_err(|status| client::Error::call("Describe", status))?;
    Ok(described.into_inner())
}

fn say(roles: &Roles, detail: &str) {
    if let Role::Standby(mut standby) = roles.get()
        && standby.detail != detail
    {
        standby.detail = detail.to_owned();
        roles.set(Role::Standby(standby));
    }
}
