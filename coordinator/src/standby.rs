//! A coordinator among several: it stands by, is elected, leads, and stands by
//! again when it was followed.
//!
//! ```text
//!            elected             deposed, or the store is out of reach
//! standing by ─────► leading ──────────────────────────► standing by
//!                       │ told to stop: another stands by, it resigns, and is
//!                       │ followed; nobody does, the run is stopped
//!                       ▼
//! ```
//!
//! Architecture invariant: between losing its office and the next election a
//! process says nothing as leader and has no machine; what it knew it reads anew.

use std::time::Duration;

use cli::{Failure, Refused};
use client::Address;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::args::LeadArgs;
use crate::election::{Elections, Office};
use crate::foreseen::Foreseen;
use crate::lead::Lead;
use crate::loading;
use crate::machine::Outcome;
use crate::mirror::{Elsewhere, Holdings, keep_up};
use crate::plan::{Checked, Plan, read_run};
use crate::serve::{AddressFile, announce, conclusion, with_loaded_model};
use crate::server::{Role, Roles, Server, Standby, Tenure, listen};
use crate::services::{Coordinating, Standbys};
use crate::store::{RunRecord, RunStore, StoreError};

/// How often a standby looks who leads.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The pause before the next attempt when the store failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How long resigning may take before the lease is left to run out.
const RESIGN_WITHIN: Duration = Duration::from_secs(2);

/// How a time as leader ended.
enum Over {
    /// The machine has nothing more to do.
    Ended(Outcome),
    /// Another may lead.
    Deposed,
    /// It was told to stop, and another stands by.
    Resigned,
    /// It was told to stop before there was a run.
    NotBegun,
}

/// What a coordinator does that is told to stop while it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Leaves the run to a standby, if there is one.
    HandOver,
    /// Stops the run.
    StopRun,
}

/// Stands by and leads by turns, until the run is complete or `shutdown` is
/// cancelled.
///
/// # Errors
/// Refused if flags, files or folders cannot be used; otherwise whatever made
/// it impossible to go on.
pub(crate) async fn run<E: Elections>(
    args: LeadArgs,
    elections: E,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    // What is wrong with the flags is said before anything is touched.
    Checked::in_background(&args, true).await?;
    let listener = listen(args.listen).await?;
    let bound = listener.local_addr().map_err(anyhow::Error::from)?;
    let address = match &args.advertise {
        Some(address) => address.clone(),
        None if bound.ip().is_unspecified() => {
            return Err(Refused::new(format!(
                "--listen {}: workers and other coordinators cannot be told to come to \
                 {bound}; give --advertise HOST:PORT, or the address to listen on",
                args.listen
            ))
            .into());
        }
        None => Address::from(bound),
    }
    .to_string();
    cli::writable_directory("--state-dir", &args.state_dir)?;
    let roles = Roles::standby();
    let holdings = Holdings::open(&args.state_dir)?;
    let standbys = Standbys::default();
    let coordinating = Coordinating {
        roles: roles.clone(),
        holdings: holdings.clone(),
        standbys: standbys.clone(),
        address: address.clone(),
    };
    let server = Server::start(listener, roles.clone(), coordinating).await?;
    let address_file = match &args.address_file {
        Some(path) => Some(AddressFile::write(path, server.address())?),
        None => None,
    };
    tracing::info!("listening on {bound}; standing by, to lead at {address}");
    let mut coordinator = Candidate {
        args,
        elections,
        server,
        roles,
        elsewhere: Elsewhere::new(standbys, holdings),
        address,
        foreseen: Foreseen::default(),
        former: None,
    };
    let outcome = coordinator.live(&shutdown).await;
    drop(address_file);
    coordinator.server.stop().await;
    match outcome? {
        Some(outcome) => conclusion(outcome),
        None => Ok(()),
    }
}

/// A coordinator that wants to lead.
struct Candidate<E> {
    args: LeadArgs,
    elections: E,
    server: Server,
    roles: Roles,
    elsewhere: Elsewhere,
    /// Where it is reached when it leads.
    address: String,
    /// What planning the run takes, as far as it could be done ahead.
    foreseen: Foreseen,
    /// Who was last seen to lead since this one did.
    former: Option<String>,
}

impl<E: Elections> Candidate<E> {
    /// Until the run is over or somebody else's; `None` when it is not over.
    async fn live(&mut self, shutdown: &CancellationToken) -> Result<Option<Outcome>, Failure> {
        let mut farewell = Farewell::HandOver;
        loop {
            let may_go = farewell == Farewell::HandOver;
            let led = led_by_another(self.roles.clone());
            let elected = tokio::select! {
                elected = self.stand_by() => elected?,
                () = shutdown.cancelled(), if may_go => return Ok(None),
                () = led, if !may_go => return Ok(None),
            };
            let over = self.lead(elected, farewell, shutdown).await;
            self.server.stand_by(Standby::default()).await;
            match over? {
                Over::Ended(outcome) => return Ok(Some(outcome)),
                Over::Resigned => {
                    let patience = Duration::from_millis(self.args.times.lease_ms / 3);
                    if timeout(patience, self.is_followed()).await.is_ok() {
                        return Ok(None);
                    }
                    tracing::warn!(
                        "no standby leads: they stopped as well; leading to stop the run"
                    );
                    farewell = Farewell::StopRun;
                }
                Over::NotBegun => return Ok(None),
                Over::Deposed => sleep(PAUSE).await,
            }
        }
    }

    /// Waits until another leads.
    async fn is_followed(&self) {
        loop {
            if let Ok(Some(leader)) = self.elections.leader().await
                && leader != self.address
            {
                tracing::info!("{leader} leads now");
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it is elected.
    async fn stand_by(&mut self) -> Result<E::Office, Failure> {
        let campaign = campaign(&self.elections, &self.address);
        let mirror = keep_up(
            self.elections.reader(),
            self.elsewhere.holdings.clone(),
            self.roles.clone(),
            self.address.clone(),
        );
        let look = look(
            &self.elections,
            &self.roles,
            &self.address,
            &mut self.former,
        );
        let foresee = self.foreseen.keep_up(&self.args, self.elections.reader());
        tokio::select! {
            biased;
            office = campaign => Ok(office?),
            refused = foresee => Err(refused),
            () = mirror => Err(anyhow::anyhow!("copying from the leader ended").into()),
            () = look => Err(anyhow::anyhow!("looking who leads ended").into()),
            failure = self.server.failed() => Err(failure),
        }
    }

    /// Leads until that is over.
    async fn lead(
        &mut self,
        office: E::Office,
        farewell: Farewell,
        shutdown: &CancellationToken,
    ) -> Result<Over, Failure> {
        let tenure = Tenure::while_holding(office.holds());
        let lost = office.lost();
        tokio::pin!(lost);
        let begun = tokio::select! {
            error = &mut lost => {
                tracing::warn!("elected, and deposed before it could lead: {error}");
                return Ok(Over::Deposed);
            }
            begun = self.begin(&office, tenure, shutdown) => begun,
        };
        let mut lead = match begun {
            Ok(Some(lead)) => lead,
            Ok(None) => {
                resign(office).await;
                return Ok(Over::NotBegun);
            }
            Err(failure) => {
                resign(office).await;
                return match passing(&failure) {
                    true => {
                        tracing::warn!("cannot lead yet: {:#}", failure.error());
                        Ok(Over::Deposed)
                    }
                    false => Err(failure),
                };
            }
        };
        self.server.lead(lead.leading()).await;
        self.former = None;
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                error = &mut lost => {
                    lead.abandon().await;
                    tracing::warn!("no longer leading: {error}");
                    return Ok(Over::Deposed);
                }
                ended = lead.ended() => {
                    return match ended.map_err(anyhow::Error::from)? {
                        Ok(outcome) => {
                            // What was said last has to arrive, and only a
                            // leader may say it.
                            self.server.stop().await;
                            lead.conclude().await?;
                            resign(office).await;
                            Ok(Over::Ended(outcome))
                        }
                        Err(error) => {
                            lead.abandon().await;
                            resign(office).await;
                            match error.may_pass() {
                                true => {
                                    tracing::warn!("no longer leading: {error}");
                                    Ok(Over::Deposed)
                                }
                                false => Err(error.into()),
                            }
                        }
                    };
                }
                failure = self.server.failed() => return Err(failure),
                () = shutdown.cancelled(), if !asked => {
                    let others = self.elsewhere.standbys.present();
                    if farewell == Farewell::HandOver && !others.is_empty() {
                        tracing::info!("handing over to {}", others.join(" or "));
                        lead.abandon().await;
                        resign(office).await;
                        return Ok(Over::Resigned);
                    }
                    asked = true;
                    lead.ask_to_stop().await;
                }
            }
        }
    }

    /// From the records to a run that is led; `None` if `shutdown` came before there
    /// was one.
    async fn begin(
        &mut self,
        office: &E::Office,
        tenure: Tenure,
        shutdown: &CancellationToken,
    ) -> Result<Option<Lead>, Failure> {
        let store = office.store();
        let stored = read_run(&store).await?;
        let is_new = stored.is_none();
        let planning = self.plan(store, stored);
        let plan = match is_new {
            // A model to download or a dataset server that is away may take for ever.
            true => match shutdown.run_until_cancelled(planning).await {
                Some(plan) => plan?,
                None => return Ok(None),
            },
            // Somebody may be training: told to stop, it stops the run in good order.
            false => planning.await?,
        };
        announce(&plan);
        let (address, former) = (&self.address, self.former.as_deref());
        Lead::begin(
            &self.args,
            plan,
            address,
            former,
            tenure,
            self.elsewhere.clone(),
        )
        .map(Some)
    }

    async fn plan(&self, store: RunStore, stored: Option<RunRecord>) -> Result<Plan, Failure> {
        let args = with_loaded_model(&self.args, stored.is_some()).await?;
        let followed = self.former.is_some();
        let plan =
            Checked::plan_among_several(&args, store, stored, &self.foreseen, followed).await?;
        loading::discard(&args.state_dir);
        Ok(plan)
    }
}

/// Waits until a standby sees another lead.
async fn led_by_another(roles: Roles) {
    while roles.as_standby().leader.is_none() {
        sleep(LOOK_EVERY).await;
    }
}

/// Campaigns until it is elected, or the store cannot be used at all.
async fn campaign<E: Elections>(elections: &E, address: &str) -> Result<E::Office, StoreError> {
    loop {
        match elections.campaign(address).await {
            Err(error) if error.may_pass() => {
                tracing::warn!("cannot stand for election: {error}");
                sleep(PAUSE).await;
            }
            elected => return elected,
        }
    }
}

/// Keeps up who leads, for those who ask this standby.
async fn look<E: Elections>(
    elections: &E,
    roles: &Roles,
    address: &str,
    former: &mut Option<String>,
) {
    loop {
        let looked = elections.leader().await;
        if let Role::Standby(mut standby) = roles.get() {
            match looked {
                Ok(leader) => {
                    // One's own, which an earlier life left behind.
                    let leader = leader.filter(|leader| leader != address);
                    if leader.is_some() {
                        former.clone_from(&leader);
                    }
                    if standby.leader != leader {
                        standby.detail.clear();
                    }
                    standby.leader = leader;
                }
                Err(error) => {
                    standby.leader = None;
                    standby.detail = format!("cannot see who leads: {error}");
                }
            }
            roles.set(Role::Standby(standby));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn resign(office: impl Office) {
    match timeout(RESIGN_WITHIN, office.resign()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("another leads when the lease has run out: {error}"),
        Err(_) => tracing::warn!("another leads when the lease has run out"),
    }
}

/// Whether the store was in the way, and may not be any more.
fn passing(failure: &Failure) -> bool {
    let error: &anyhow::Error = failure.error();
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<StoreError>())
        .any(StoreError::may_pass)
}
