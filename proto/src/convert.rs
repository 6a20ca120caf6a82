//! Between wire types and the ledger's types.
//!
//! Into the wire nothing can fail. Out of it, anything that a faulty or older
//! peer could leave out or garble is a [`Malformed`] that names the field.

use ledger::{
    Cursor, FedDigest, Ordinal, PageDigest, PageId, PageRow, PageStart, Slot, Step, StepReport,
};

use crate::v1;

/// A message that lacks a field or holds one that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field} {problem}")]
pub struct Malformed {
    field: &'static str,
    problem: &'static str,
}

impl Malformed {
    /// `field` is absent.
    #[must_use]
    pub fn missing(field: &'static str) -> Self {
        Self {
            field,
            problem: "is missing",
        }
    }

    /// `field` has a value that it cannot have.
    #[must_use]
    pub fn invalid(field: &'static str) -> Self {
        Self {
            field,
            problem: "is not valid",
        }
    }
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

impl From<PageStart> for v1::PageStart {
    fn from(start: PageStart) -> Self {
        Self {
            ordinal: start.ordinal.0,
            position: start.position,
        }
    }
}

impl From<v1::PageStart> for PageStart {
    fn from(start: v1::PageStart) -> Self {
        Self {
            ordinal: Ordinal(start.ordinal),
            position: start.position,
        }
    }
}

impl From<Cursor> for v1::Cursor {
    fn from(cursor: Cursor) -> Self {
        Self {
            step: cursor.step,
            position: cursor.position,
            epoch: cursor.epoch,
            page: Some(cursor.page.into()),
        }
    }
}

impl TryFrom<v1::Cursor> for Cursor {
    type Error = Malformed;

    fn try_from(cursor: v1::Cursor) -> Result<Self, Malformed> {
        Ok(Self {
            step: cursor.step,
            position: cursor.position,
            epoch: cursor.epoch,
            page: cursor.page.ok_or(Malformed::missing("cursor.page"))?.into(),
        })
    }
}

impl From<Slot> for v1::Slot {
    fn from(slot: Slot) -> Self {
        let kind = match slot {
            Slot::Evaluation(index) => v1::slot::Kind::Evaluation(index),
            Slot::Training(ordinal) => v1::slot::Kind::Training(ordinal.0),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Slot> for Slot {
    type Error = Malformed;

    fn try_from(slot: v1::Slot) -> Result<Self, Malformed> {
        match slot.kind.ok_or(Malformed::missing("slot.kind"))? {
            v1::slot::Kind::Evaluation(index) => Ok(Self::Evaluation(index)),
            v1::slot::Kind::Training(ordinal) => Ok(Self::Training(Ordinal(ordinal))),
        }
    }
}

impl From<(Slot, &PageRow)> for v1::PageRow {
    fn from((slot, row): (Slot, &PageRow)) -> Self {
        let outcome = match row {
            PageRow::Packed {
                sequences,
                digest,
                dropped_tokens,
                ..
            } => v1::page_row::Outcome::Packed(v1::page_row::Packed {
                sequences: *sequences,
                digest: digest.0.to_vec().into(),
                dropped_tokens: *dropped_tokens,
            }),
            PageRow::Skipped { reason, .. } => v1::page_row::Outcome::Skipped(reason.clone()),
        };
        Self {
            slot: Some(slot.into()),
            page: row.page().0,
            outcome: Some(outcome),
        }
    }
}

impl TryFrom<v1::PageRow> for (Slot, PageRow) {
    type Error = Malformed;

    fn try_from(row: v1::PageRow) -> Result<Self, Malformed> {
        let slot = row.slot.ok_or(Malformed::missing("row.slot"))?.try_into()?;
        let page = PageId(row.page);
        let row = match row.outcome.ok_or(Malformed::missing("row.outcome"))? {
            v1::page_row::Outcome::Packed(packed) => PageRow::Packed {
                page,
                sequences: packed.sequences,
                digest: PageDigest(
                    <[u8; 32]>::try_from(packed.digest.as_ref())
                        .map_err(|_| Malformed::invalid("row.packed.digest"))?,
                ),
                dropped_tokens: packed.dropped_tokens,
            },
            v1::page_row::Outcome::Skipped(reason) => PageRow::Skipped { page, reason },
        };
        Ok((slot, row))
    }
}

impl From<&StepReport> for v1::StepReport {
    /// Leaves learning rate and times, which are not the ledger's, unset.
    fn from(report: &StepReport) -> Self {
        let step = &report.step;
        Self {
            generation: report.generation,
            number: step.number,
            epoch: step.epoch,
            first: step.first,
            count: step.count,
            last_of_epoch: step.last_of_epoch,
            page: Some(step.page.into()),
            next_page: Some(step.next_page.into()),
            loss_sum: report.loss_sum,
            tokens: report.tokens,
            sequences: report.sequences,
            // Each limb is a whole number below 2^32.
            fed: report.fed.to_f64_limbs().map(|limb| limb as u32).to_vec(),
            grad_norm: report.grad_norm,
            applied: report.applied,
            learning_rate: 0.0,
            times: None,
        }
    }
}

impl TryFrom<&v1::StepReport> for StepReport {
    type Error = Malformed;

    fn try_from(report: &v1::StepReport) -> Result<Self, Malformed> {
        let limbs: [u32; 4] = report
            .fed
            .as_slice()
            .try_into()
            .map_err(|_| Malformed::invalid("report.fed"))?;
        Ok(Self {
            generation: report.generation,
            step: Step {
                number: report.number,
                epoch: report.epoch,
                first: report.first,
                count: report.count,
                last_of_epoch: report.last_of_epoch,
                page: report.page.ok_or(Malformed::missing("report.page"))?.into(),
                next_page: report
                    .next_page
                    .ok_or(Malformed::missing("report.next_page"))?
                    .into(),
            },
            loss_sum: report.loss_sum,
            tokens: report.tokens,
            sequences: report.sequences,
            fed: FedDigest::from_f64_limbs(&limbs.map(f64::from))
                .ok_or(Malformed::invalid("report.fed"))?,
            grad_norm: report.grad_norm,
            applied: report.applied,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> PageStart {
        PageStart {
            ordinal: Ordinal(7),
            position: 400,
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = StepReport {
            generation: 3,
            step: Step {
                number: 41,
                epoch: 2,
                first: 410,
                count: 10,
                last_of_epoch: true,
                page: start(),
                next_page: PageStart {
                    ordinal: Ordinal(8),
                    position: 420,
                },
            },
            loss_sum: 1234.5,
            tokens: 10_230,
            sequences: 10,
            fed: FedDigest::of(410, &[1, 2, 3]) + FedDigest::of(411, &[50_256]),
            grad_norm: 0.5,
            applied: true,
        };
        let wire = v1::StepReport::from(&report);
        assert_eq!(StepReport::try_from(&wire), Ok(report));
    }

    #[test]
    fn cursors_slots_and_rows_survive_the_wire() {
        let cursor = Cursor {
            step: 41,
            position: 410,
            epoch: 2,
            page: start(),
        };
        assert_eq!(Cursor::try_from(v1::Cursor::from(cursor)), Ok(cursor));

        let packed = PageRow::Packed {
            page: PageId(9_680_000),
            sequences: 15,
            digest: PageDigest([0xab; 32]),
            dropped_tokens: 1023,
        };
        let skipped = PageRow::Skipped {
            page: PageId(5),
            reason: "too big".into(),
        };
        for (slot, row) in [
            (Slot::Training(Ordinal(7)), packed),
            (Slot::Evaluation(0), skipped),
        ] {
            let wire = v1::PageRow::from((slot, &row));
            assert_eq!(<(Slot, PageRow)>::try_from(wire), Ok((slot, row)));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let cursor = v1::Cursor::default();
        let refusal = Cursor::try_from(cursor).unwrap_err();
        assert!(refusal.to_string().contains("cursor.page"), "{refusal}");

        let mut row = v1::PageRow::from((
            Slot::Evaluation(0),
            &PageRow::Packed {
                page: PageId(1),
                sequences: 1,
                digest: PageDigest([0; 32]),
                dropped_tokens: 0,
            },
        ));
        if let Some(v1::page_row::Outcome::Packed(packed)) = &mut row.outcome {
            packed.digest.truncate(31);
        }
        let refusal = <(Slot, PageRow)>::try_from(row).unwrap_err();
        assert!(refusal.to_string().contains("digest"), "{refusal}");

        let report = v1::StepReport {
            fed: vec![1, 2, 3],
            page: Some(start().into()),
            next_page: Some(start().into()),
            ..Default::default()
        };
        let refusal = StepReport::try_from(&report).unwrap_err();
        assert!(refusal.to_string().contains("fed"), "{refusal}");
    }
}
