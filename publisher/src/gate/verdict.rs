//! Whether a model is worth publishing beside the one that its hotkey has
//! committed already: pure arithmetic, and words for it.

use serde::{Deserialize, Serialize};
use subnet::{Contender, is_win};

/// What was found out about a staged model, compared with what its hotkey has
/// on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is worth publishing.
    pub publish: bool,
    /// Why, in words.
    pub reason: String,
    /// The commitment that it was compared with, as the chain has it; none when
    /// there was none.
    pub against: Option<Incumbent>,
    /// By which fraction its loss had to be lower; none when that was not
    /// asked.
    pub better_by: Option<f64>,
    /// The pages that were to be scored; 0 when none were.
    pub pages: u32,
    /// The losses, when both models were scored.
    pub comparison: Option<Comparison>,
}

/// The commitment that a hotkey has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incumbent {
    /// What it says; in words when it is not text.
    pub text: String,
    /// Its block.
    pub block: u64,
}

/// Two models on the same sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The candidate's mean loss over sequences, in nats per predicted token.
    pub loss: f64,
    /// The other's, which is on the chain. JSON has no number for a loss that
    /// is not finite: then none.
    pub incumbent_loss: Option<f64>,
    /// Mean over sequences of the candidate's loss less the other's.
    pub difference: Option<f64>,
    /// The standard error of that mean.
    pub standard_error: Option<f64>,
    /// Share of the sequences that a validator would count for the candidate.
    pub won: f64,
    /// How many sequences there are.
    pub sequences: usize,
}

impl Comparison {
    /// Compares the losses of each sequence, in the same order; the incumbent
    /// was committed earlier, which gives it the advantage of `better_by`.
    ///
    /// # Errors
    /// In words, when there is nothing to compare.
    pub(crate) fn paired(
        candidate: &[f64],
        incumbent: &[f64],
        better_by: f64,
    ) -> Result<Comparison, String> {
        if candidate.len() != incumbent.len() || candidate.is_empty() {
            return Err(format!(
                "the scorer gave {} and {} losses, where it must give as many for both models",
                candidate.len(),
                incumbent.len()
            ));
        }
        let sequences = candidate.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / sequences as f64;
        let loss = mean(candidate);
        if !loss.is_finite() {
            return Err("the candidate's loss is not finite on some sequence".to_owned());
        }
        let pairs = || candidate.iter().zip(incumbent);
        let won = pairs()
            .filter(|&(&ours, &theirs)| wins(ours, theirs, better_by))
            .count();
        let differences: Vec<f64> = pairs().map(|(ours, theirs)| ours - theirs).collect();
        let difference = mean(&differences);
        let squares: Vec<f64> = differences
            .iter()
            .map(|each| (each - difference).powi(2))
            .collect();
        // Of a single pair, the spread is not known.
        let spread = squares.iter().sum::<f64>() / (sequences as f64 - 1.0);
        let finite = |value: f64| value.is_finite().then_some(value);
        Ok(Comparison {
            loss,
            incumbent_loss: finite(mean(incumbent)),
            difference: finite(difference),
            standard_error: finite((spread / sequences as f64).sqrt()),
            won: won as f64 / sequences as f64,
            sequences,
        })
    }

    /// Whether the candidate's mean loss is lower by more than the advantage
    /// that validators give to the earlier model.
    pub(crate) fn is_win(&self, better_by: f64) -> bool {
        wins(
            self.loss,
            self.incumbent_loss.unwrap_or(f64::INFINITY),
            better_by,
        )
    }

    /// What was found, in words.
    pub(crate) fn in_words(&self, better_by: f64) -> String {
        let Some((theirs, difference)) = self.incumbent_loss.zip(self.difference) else {
            return format!(
                "on {} sequences its loss is {:.4}, and that of the model on the chain is not finite",
                self.sequences, self.loss
            );
        };
        let error = self
            .standard_error
            .map(|error| format!(" ± {error:.4}"))
            .unwrap_or_default();
        format!(
            "on {} sequences its loss is {:.4} and that of the model on the chain {theirs:.4}: a \
             difference of {difference:+.4}{error}, where --publish-if-better-by {better_by} asks \
             for less than {:+.4}; validators would count {:.0}% of the sequences for it",
            self.sequences,
            self.loss,
            -theirs * better_by,
            self.won * 100.0
        )
    }
}

/// What a validator says of one batch, for a model that is committed after the
/// other.
fn wins(candidate: f64, incumbent: f64, better_by: f64) -> bool {
    let later = Contender {
        loss: candidate,
        block: 1,
    };
    let earlier = Contender {
        // A model that gives no number has no advantage over anything.
        loss: if incumbent.is_nan() {
            f64::INFINITY
        } else {
            incumbent
        },
        block: 0,
    };
    is_win(later, earlier, better_by)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_model_must_be_better_by_more_than_the_advantage_of_the_earlier_one() {
        let theirs = [4.0, 2.0];
        let slightly = Comparison::paired(&[3.99, 1.99], &theirs, 0.005).unwrap();
        assert!(!slightly.is_win(0.005));
        assert!(slightly.is_win(0.001));
        let clearly = Comparison::paired(&[3.9, 1.95], &theirs, 0.005).unwrap();
        assert!(clearly.is_win(0.005));
        assert_eq!(clearly.won, 1.0);
        assert_eq!(clearly.incumbent_loss, Some(3.0));
        assert!((clearly.difference.unwrap() + 0.075).abs() < 1e-12);
    }

    #[test]
    fn the_difference_is_paired_so_that_hard_sequences_do_not_blur_it() {
        let theirs = [9.0, 1.0, 5.0, 3.0];
        let ours = theirs.map(|loss| loss - 0.1);
        let comparison = Comparison::paired(&ours, &theirs, 0.005).unwrap();
        assert!(comparison.standard_error.unwrap() < 1e-12);
    }

    #[test]
    fn a_model_on_the_chain_that_gives_no_number_is_no_obstacle() {
        for theirs in [[f64::NAN, 3.0], [f64::INFINITY, 3.0]] {
            let comparison = Comparison::paired(&[9.0, 9.0], &theirs, 0.005).unwrap();
            assert!(comparison.is_win(0.005));
            assert_eq!(comparison.incumbent_loss, None);
            assert_eq!(comparison.won, 0.5);
            assert!(comparison.in_words(0.005).contains("not finite"));
        }
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        assert!(Comparison::paired(&[], &[], 0.005).is_err());
        assert!(Comparison::paired(&[1.0], &[1.0, 2.0], 0.005).is_err());
        assert!(Comparison::paired(&[f64::NAN], &[1.0], 0.005).is_err());
    }

    #[test]
    fn the_words_hold_both_losses_the_difference_and_the_share() {
        let comparison = Comparison::paired(&[3.0, 3.0], &[3.2, 2.8], 0.005).unwrap();
        let words = comparison.in_words(0.005);
        for part in ["2 sequences", "3.0000", "+0.0000", "50%", "-0.0150"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }

    proptest! {
        #[test]
        fn no_model_beats_itself(losses in prop::collection::vec(0.1_f64..20.0, 1..40)) {
            let comparison = Comparison::paired(&losses, &losses, 0.005).unwrap();
            prop_assert!(!comparison.is_win(0.005));
            prop_assert_eq!(comparison.won, 0.0);
            prop_assert_eq!(comparison.difference, Some(0.0));
        }
    }
}
