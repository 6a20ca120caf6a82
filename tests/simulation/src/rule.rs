//! The rules that every history must keep.

use serde::Serialize;

/// What must hold, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Never two groups that could both finish a collective.
    OneLiveGeneration,
    /// No worker takes part in anything after its lease has run out.
    LeaseKept,
    /// Workers refuse terms and generations below the highest they have seen.
    OlderRefused,
    /// Leader terms and generation numbers only grow, and none is used twice.
    NumbersGrow,
    /// No writes of two leaders interleave.
    OneWriter,
    /// What a worker relies on is durable before it hears of it.
    DurableFirst,
    /// Steps of a lineage follow one another, each recorded once.
    StepsMonotone,
    /// Every sequence of the order is trained once.
    ExactlyOnce,
    /// After a step all ranks hold the same weights.
    EqualWeights,
    /// Who is said to hold a generation's state holds the surviving steps.
    StateAsClaimed,
    /// A generation begins with the highest step that a member has applied and
    /// that is reported, or a checkpoint that is further.
    HighestWins,
    /// Reports and checkpoints of a replaced generation change nothing.
    ReplacedIsSilent,
    /// Members of a generation that ends at once are told.
    MembersTold,
    /// A coordinator that comes back within the lease ends no generation.
    RestartKeepsGeneration,
    /// While faults leave most workers alone, these go on; after the last fault,
    /// training goes on soon and comes to its end.
    Progress,
    /// Code that decides must not panic.
    NoPanic,
}

impl Rule {
    /// The rule in words.
    pub fn in_words(self) -> &'static str {
        match self {
            Rule::OneLiveGeneration => "never two live generations",
            Rule::LeaseKept => "nobody acts after its lease",
            Rule::OlderRefused => "older terms and generations are refused",
            Rule::NumbersGrow => "terms and generation numbers only grow",
            Rule::OneWriter => "no two leaders write",
            Rule::DurableFirst => "durable before it is said",
            Rule::StepsMonotone => "steps are monotone within a lineage",
            Rule::ExactlyOnce => "every sequence is trained once",
            Rule::EqualWeights => "ranks hold equal weights",
            Rule::StateAsClaimed => "who is said to hold the state holds it",
            Rule::HighestWins => "the highest applied step wins",
            Rule::ReplacedIsSilent => "a replaced generation changes nothing",
            Rule::MembersTold => "members are told when their generation ends",
            Rule::RestartKeepsGeneration => "a coordinator's restart ends no generation",
            Rule::Progress => "a live majority makes progress",
            Rule::NoPanic => "nothing panics",
        }
    }
}

/// A rule that a history broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// When, in simulated milliseconds.
    pub at: u64,
    /// What happened, in words.
    pub what: String,
}
