//! This worker's copy of the model and of the optimizer's state, and how it is
//! made equal to everyone else's.

use std::num::NonZeroU32;

use anyhow::Context as _;
use layout::ModelDir;
use ledger::Cursor;
use model::{AdamW, Gpt2, Mode, ModelError, OPTIMIZER_FILE};
use proto::v1;
use proto::v1::worker_message::Body;
use run::{Init, RunConfig};
use tch::{Device, Kind, Tensor};
use tokio_util::sync::CancellationToken;

use super::epoch_loss::{EPOCH_LOSS_FILE, EpochLoss};
use super::generation::{Broken, World};
use super::{Fatal, Trainer};

/// Weights, optimizer state, and what they have applied.
pub(super) struct Replica {
    pub(super) model: Gpt2,
    pub(super) optimizer: AdamW,
    /// `None` until this worker has held the run's state.
    pub(super) applied: Option<Cursor>,
    /// What the running epoch has cost up to there.
    pub(super) trained: EpochLoss,
    /// The generation in which it took that state, or applied the last step of it.
    pub(super) applied_in: u64,
}

impl Replica {
    /// The run's model with weights from its seed: right for a run from
    /// scratch, overwritten otherwise.
    pub(super) fn new(run: &RunConfig, device: Device) -> Result<Self, Fatal> {
        let model = Gpt2::new(&run.model, run.dropout, device, run.seed)?;
        let optimizer = AdamW::new(&model, &run.optimizer)?;
        Ok(Self {
            model,
            optimizer,
            applied: None,
            trained: EpochLoss::default(),
            applied_in: 0,
        })
    }

    /// Computes one micro-batch for nothing, so that a newcomer has its memory,
    /// kernels and threads before the others wait for it. Neither weights nor
    /// gradients nor random numbers of a step depend on it.
    pub(super) fn warm_up(
        &mut self,
        bs: NonZeroU32,
        sl: u32,
        precision: model::Precision,
        device: Device,
    ) -> Result<(), Fatal> {
        let started = std::time::Instant::now();
        let sequence = vec![0; sl as usize];
        let sequences = vec![sequence.as_slice(); bs.get() as usize];
        let ids = self.model.batch(&sequences)?;
        let loss = precision.scope(device, || self.model.loss_sum(&ids, Mode::Train))?;
        loss.f_backward().map_err(ModelError::from)?;
        for (_, parameter) in self.model.parameters() {
            let mut gradient = parameter.grad();
            if gradient.defined() {
                let _ = gradient.f_zero_().map_err(ModelError::from)?;
            }
        }
        tracing::debug!(seconds = started.elapsed().as_secs_f64(), "warmed up");
        Ok(())
    }

    /// Weights and moments, in an order that every rank shares.
    fn state(&self) -> Vec<Tensor> {
        let weights = self
            .model
            .parameters()
            .iter()
            .map(|(_, weight)| weight.detach());
        let moments = self
            .optimizer
            .moments()
            .flat_map(|(_, mean, square)| [mean.shallow_clone(), square.shallow_clone()]);
        weights.chain(moments).collect()
    }

    /// One number per parameter, int64: the sum of its weights' bit patterns.
    /// Equal weights have equal numbers on every device, and a weight that
    /// differs in one bit changes one of them.
    fn fingerprint(&self) -> Result<Tensor, ModelError> {
        let mut sums = Vec::new();
        for (_, weight) in self.model.parameters() {
            let bits = weight.detach().f_view_dtype(Kind::Int)?;
            sums.push(bits.f_sum(Kind::Int64)?);
        }
        Ok(Tensor::f_stack(&sums, 0)?)
    }

    fn reset(&mut self, run: &RunConfig, device: Device) -> Result<(), Fatal> {
        *self = Self::new(run, device)?;
        Ok(())
    }
}

/// What became of a restore that did not fail.
enum Restored {
    Whole,
    Cancelled,
}

impl Trainer {
    /// On rank 0, before the generation's group exists: brings the state that
    /// nobody holds, from the seed or from a checkpoint.
    pub(super) fn take_up_origin(
        &self,
        form: &v1::Form,
        base: Cursor,
        replica: &mut Replica,
        cancelled: &CancellationToken,
    ) -> Result<(), Broken> {
        use v1::form::Origin;
        match form.origin.as_ref() {
            Some(Origin::FromRank(_)) => {}
            Some(Origin::Initial(initial)) => {
                replica.reset(&self.run, self.device)?;
                if matches!(self.run.init, Init::Weights { .. }) {
                    self.restore(&initial.weights, replica, cancelled)?;
                }
                replica.applied = Some(base);
            }
            Some(Origin::Checkpoint(checkpoint)) => {
                self.restore(checkpoint, replica, cancelled)?;
                replica.applied = Some(base);
            }
            None => {
                return Err(Broken::Protocol(
                    "the new generation does not say where its state comes from".into(),
                ));
            }
        }
        Ok(())
    }

    /// Loads a checkpoint's weights, and its optimizer state where it has one,
    /// unless the generation ends first.
    /// What does not arrive whole is the coordinator's to look at: it may hold
    /// an older one that does.
    fn restore(
        &self,
        checkpoint: &str,
        replica: &mut Replica,
        cancelled: &CancellationToken,
    ) -> Result<(), Broken> {
        let error = match self.restore_from(checkpoint, replica, cancelled) {
            Ok(Restored::Whole) => return Ok(()),
            Ok(Restored::Cancelled) => return Err(Broken::Aborted),
            Err(error) => error,
        };
        let lost = error.downcast_ref::<client::Error>();
        if !lost.is_some_and(|error| error.is_not_found() || error.is_damage()) {
            return Err(Fatal::Restore(error).into());
        }
        let problem = error.to_string();
        let damaged = v1::CheckpointDamaged {
            checkpoint_id: checkpoint.to_owned(),
            reason: problem.clone(),
        };
        let generation = self.control.progress().generation;
        self.control
            .send(generation, Body::CheckpointDamaged(damaged));
        let id = checkpoint.to_owned();
        Err(Broken::Checkpoint { id, problem })
    }

    fn restore_from(
        &self,
        checkpoint: &str,
        replica: &mut Replica,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Restored> {
        tracing::info!(checkpoint, "restoring from a checkpoint");
        let context = || self.identity.context(0);
        // Every time: a coordinator waits for as long as more comes.
        let control = &self.control;
        let on_more = || control.set_phase(v1::Phase::Restoring);
        let bringing =
            self.arriving
                .bring(checkpoint, &self.connection, context, on_more, cancelled);
        let Some(arrived) = self.runtime.block_on(bringing)? else {
            return Ok(Restored::Cancelled);
        };
        let weights = ModelDir::open(&arrived.model)?;
        weights.check(&self.run.model)?;
        // Half overwritten is nothing to claim.
        replica.applied = None;
        replica.model = Gpt2::load(&weights, self.run.dropout, self.device)?;
        replica.optimizer = AdamW::new(&replica.model, &self.run.optimizer)?;
        replica.trained = EpochLoss::default();
        if let Some(state) = arrived.state {
            replica.optimizer.restore(&state.join(OPTIMIZER_FILE))?;
            replica.trained = EpochLoss::read(&state)
                .with_context(|| format!("{EPOCH_LOSS_FILE} of the training state"))?;
        }
        self.arriving.forget();
        Ok(Restored::Whole)
    }

    /// Gives every member the state at the generation's base, and checks that
    /// all of them have the same.
    pub(super) fn agree_on_state(
        &self,
        world: &World,
        form: &v1::Form,
        base: Cursor,
        replica: &mut Replica,
    ) -> Result<(), Broken> {
        use v1::form::Origin;
        let root = match form.origin {
            Some(Origin::FromRank(rank)) => rank as usize,
            _ => 0,
        };
        if world.size.get() > 1 && !form.all_have_state {
            let started = std::time::Instant::now();
            let rank = world.rank as usize;
            if rank != root && !form.has_state {
                // Half overwritten is nothing to claim: aborted on the way, this
                // worker has no state.
                replica.applied = None;
            }
            let mut bytes = 0;
            for tensor in replica.state() {
                world.group.broadcast(&tensor, root)?;
                bytes += tensor.numel() * 4;
            }
            let steps = i64::try_from(replica.optimizer.steps()).unwrap_or(i64::MAX);
            let steps = Tensor::from_slice(&[steps]).to_device(self.device);
            world.group.broadcast(&steps, root)?;
            let steps = u64::try_from(steps.int64_value(&[0])).unwrap_or_default();
            replica.optimizer.set_steps(steps)?;
            let trained = replica.trained.to_tensor(self.device);
            world.group.broadcast(&trained, root)?;
            replica.trained = EpochLoss::from_tensor(&trained).map_err(ModelError::from)?;
            tracing::info!(
                megabytes = bytes / 1_000_000,
                seconds = started.elapsed().as_secs_f64(),
                "state taken from rank {root}"
            );
        }
        // However it came here, it is not to be restored any more.
        self.arriving.forget();
        replica.applied = Some(base);
        replica.applied_in = world.generation;
        self.control.set_applied(base);
        self.compare_weights(world, replica)
    }

    /// The workers' names, by rank.
    fn names(&self, world: &World) -> Result<Vec<String>, Broken> {
        let own = Tensor::from_slice(&padded(self.identity.worker_id()));
        let all = world.group.all_gather(&own.to_device(self.device))?;
        let name = |tensor: &Tensor| {
            let bytes = Vec::<u8>::try_from(&tensor.to_device(Device::Cpu));
            Ok(unpadded(&bytes.map_err(ModelError::from)?))
        };
        all.iter().map(name).collect()
    }

    /// Compares a digest of the weights over all ranks; a rank that differs
    /// from most others is named.
    pub(super) fn compare_weights(&self, world: &World, replica: &Replica) -> Result<(), Broken> {
        if world.size.get() == 1 {
            return Ok(());
        }
        let all = world.group.all_gather(&replica.fingerprint()?)?;
        let mut digests = Vec::with_capacity(all.len());
        for tensor in &all {
            let digest = Vec::<i64>::try_from(&tensor.to_device(Device::Cpu));
            digests.push(digest.map_err(ModelError::from)?);
        }
        match odd_ones(&digests) {
            odd if odd.is_empty() => Ok(()),
            odd => {
                // All ranks have found the same, so all of them are here.
                let names = self.names(world)?;
                let odd: Vec<&str> = odd.iter().map(|rank| names[*rank].as_str()).collect();
                Err(Broken::Protocol(format!(
                    "the weights of {} differ from the other workers'",
                    odd.join(" and ")
                )))
            }
        }
    }
}

/// Bytes for a worker's name, padded with zeros: the coordinator gives none that
/// is longer.
const NAME_BYTES: usize = 80;

fn padded(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

fn unpadded(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = &bytes[..end.unwrap_or(bytes.len())];
    String::from_utf8_lossy(name).into_owned()
}

/// The ranks whose digest is not the commonest; of equally common ones, the
/// lowest rank's counts as right.
fn odd_ones(digests: &[Vec<i64>]) -> Vec<usize> {
    let votes = |digest: &Vec<i64>| digests.iter().filter(|other| *other == digest).count();
    let Some(most) = digests.iter().map(votes).max() else {
        return Vec::new();
    };
    let right = digests.iter().find(|digest| votes(digest) == most);
    (0..digests.len())
        .filter(|rank| Some(&digests[*rank]) != right)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_allowed_length_travel_whole() {
        for name in [
            "a".to_owned(),
            "gpu-box_7.example:0".to_owned(),
            "w".repeat(NAME_BYTES),
        ] {
            assert_eq!(unpadded(&padded(&name)), name);
        }
    }

    #[test]
    fn the_rank_with_other_weights_is_named() {
        let (a, b) = (vec![1, 2], vec![1, 3]);
        assert_eq!(odd_ones(&[a.clone(), a.clone(), a.clone()]), [0; 0]);
        assert_eq!(odd_ones(&[a.clone(), b.clone(), a.clone()]), [1]);
        assert_eq!(odd_ones(&[b.clone(), a.clone(), a.clone()]), [0]);
        assert_eq!(odd_ones(&[a.clone(), b]), [1]);
        assert_eq!(odd_ones(&[a]), [0; 0]);
    }
}
