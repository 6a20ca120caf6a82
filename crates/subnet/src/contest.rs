//! How validators compare two models on one batch.

/// The advantage of an earlier model in January 2024.
pub const EPSILON_JANUARY_2024: f64 = 0.01;

/// The advantage of an earlier model in later versions of the validator.
pub const EPSILON_LATER: f64 = 0.005;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contender {
    /// The model's loss on the batch, in nats per predicted token.
    pub loss: f64,
    /// The block at which its chain string was committed.
    pub block: u64,
}

/// Whether validators count the batch as a win of `a` over `b`: the loss of the
/// model that was committed earlier is first lowered by the fraction `epsilon`,
/// and then the lower loss wins. So a copy does not win, and a later model must
/// be better by more than `epsilon`.
///
/// A loss that is not a number wins against nothing.
#[must_use]
pub fn is_win(a: Contender, b: Contender, epsilon: f64) -> bool {
    let advantage = |earlier: bool| if earlier { 1.0 - epsilon } else { 1.0 };
    a.loss * advantage(a.block < b.block) < b.loss * advantage(b.block < a.block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wins(a: (f64, u64), b: (f64, u64)) -> bool {
        let contender = |(loss, block)| Contender { loss, block };
        is_win(contender(a), contender(b), EPSILON_JANUARY_2024)
    }

    #[test]
    fn a_later_copy_loses_and_the_original_wins() {
        assert!(wins((3.0, 100), (3.0, 200)));
        assert!(!wins((3.0, 200), (3.0, 100)));
    }

    #[test]
    fn a_later_model_must_be_better_by_more_than_epsilon() {
        assert!(!wins((2.98, 200), (3.0, 100)));
        assert!(wins((2.96, 200), (3.0, 100)));
    }

    #[test]
    fn in_the_same_block_the_lower_loss_wins_and_a_tie_is_nobodys() {
        assert!(wins((2.999, 100), (3.0, 100)));
        assert!(!wins((3.0, 100), (3.0, 100)));
    }

    #[test]
    fn a_loss_that_is_not_a_number_never_wins() {
        assert!(!wins((f64::NAN, 100), (3.0, 200)));
        assert!(!wins((3.0, 200), (f64::NAN, 100)));
        assert!(wins((3.0, 200), (f64::INFINITY, 100)));
    }
}
