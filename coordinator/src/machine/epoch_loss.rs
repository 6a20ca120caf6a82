//! The mean training loss of an epoch.

use std::collections::VecDeque;

use ledger::StepReport;

/// The losses of the running epoch's steps and of those before it, each by itself:
/// steps that are rolled back leave the mean as if they had never been.
#[derive(Clone, Debug, Default)]
pub(super) struct EpochLosses {
    /// One after the other, without gaps.
    steps: VecDeque<StepLoss>,
}

#[derive(Clone, Copy, Debug)]
struct StepLoss {
    number: u64,
    epoch: u64,
    loss_sum: f64,
    tokens: u64,
}

impl EpochLosses {
    /// Adds the next step.
    pub(super) fn add(&mut self, report: &StepReport) {
        let (number, epoch) = (report.step.number, report.step.epoch);
        if self.steps.back().is_some_and(|l| l.number + 1 != number) {
            self.steps.clear();
        }
        self.steps.push_back(StepLoss {
            number,
            epoch,
            loss_sum: report.loss_sum,
            tokens: report.tokens,
        });
        // Epochs may pass without a step, so the one before is whichever has any.
        let before = self.steps.iter().rev().find(|l| l.epoch < epoch);
        if let Some(before) = before.map(|l| l.epoch) {
            while self.steps.front().is_some_and(|l| l.epoch < before) {
                self.steps.pop_front();
            }
        }
    }

    /// Forgets `step` and those after it.
    pub(super) fn go_back_to(&mut self, step: u64) {
        while self.steps.back().is_some_and(|l| l.number >= step) {
            self.steps.pop_back();
        }
    }

    /// The mean per predicted token over all steps of the last one's epoch; `None`
    /// if there were none, or not all of its steps are known.
    pub(super) fn mean(&self) -> Option<f64> {
        let epoch = self.steps.back()?.epoch;
        let first = self.steps.front()?;
        if first.epoch == epoch && first.number > 0 {
            return None;
        }
        let of_it = || self.steps.iter().filter(|l| l.epoch == epoch);
        let tokens: u64 = of_it().map(|l| l.tokens).sum();
        let loss_sum: f64 = of_it().map(|l| l.loss_sum).sum();
        (tokens > 0).then(|| loss_sum / tokens as f64)
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Cursor, FedDigest, Step};

    use super::*;

    fn report(number: u64, epoch: u64, loss: f64) -> StepReport {
        StepReport {
            generation: 1,
            step: Step {
                number,
                epoch,
                first: number,
                count: 1,
                last_of_epoch: false,
                page: Cursor::start().page,
                next_page: Cursor::start().page,
            },
            loss_sum: loss * 10.0,
            tokens: 10,
            sequences: 1,
            fed: FedDigest::default(),
            grad_norm: 1.0,
            applied: true,
        }
    }

    fn add(losses: &mut EpochLosses, steps: impl IntoIterator<Item = (u64, u64, f64)>) {
        for (number, epoch, loss) in steps {
            losses.add(&report(number, epoch, loss));
        }
    }

    #[test]
    fn steps_that_were_rolled_back_do_not_count() {
        let mut losses = EpochLosses::default();
        add(&mut losses, (0..500).map(|number| (number, 0, 4.0)));
        add(&mut losses, [(500, 0, 100.0), (501, 0, 100.0)]);
        losses.go_back_to(500);
        add(&mut losses, (500..1000).map(|number| (number, 0, 2.0)));
        assert_eq!(losses.mean(), Some(3.0));
        add(&mut losses, [(1000, 1, 1.0)]);
        assert_eq!(losses.mean(), Some(1.0));
        // Back into the epoch before.
        losses.go_back_to(500);
        add(&mut losses, (500..1000).map(|number| (number, 0, 6.0)));
        assert_eq!(losses.mean(), Some(5.0));
    }

    #[test]
    fn an_epoch_whose_beginning_is_not_known_has_no_mean() {
        let mut losses = EpochLosses::default();
        add(&mut losses, (7..9).map(|number| (number, 2, 4.0)));
        assert_eq!(losses.mean(), None);
        add(&mut losses, [(9, 3, 2.0)]);
        assert_eq!(losses.mean(), Some(2.0));
        losses.go_back_to(3);
        assert_eq!(losses.mean(), None);
        add(&mut losses, [(3, 1, 2.0)]);
        assert_eq!(losses.mean(), None);
    }

    #[test]
    fn two_epochs_are_remembered() {
        let mut losses = EpochLosses::default();
        add(
            &mut losses,
            [(0, 0, 1.0), (1, 0, 1.0), (2, 4, 2.0), (3, 9, 3.0)],
        );
        let epochs: Vec<u64> = losses.steps.iter().map(|l| l.epoch).collect();
        assert_eq!(epochs, [4, 9]);
    }
}
