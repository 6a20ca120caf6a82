//! The loss curve as a picture that any browser opens.

use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::*;

const SIZE: (u32, u32) = (960, 540);
const TRAINING: RGBColor = RGBColor(31, 119, 180);
const EVALUATION: RGBColor = RGBColor(214, 79, 20);

/// What the picture shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossCurve {
    /// Above the picture.
    pub(crate) title: String,
    /// Training loss of each step, in nats per token.
    pub(crate) training: Vec<f64>,
    /// Evaluations: steps done, and loss in nats per token.
    pub(crate) evaluations: Vec<(u64, f64)>,
}

impl LossCurve {
    /// Writes the picture as SVG, at once or not at all.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut picture = String::new();
        self.draw(&mut picture)
            .context("cannot draw the loss curve")?;
        let partial = path.with_extension("svg.tmp");
        std::fs::write(&partial, picture)
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn draw(&self, picture: &mut String) -> anyhow::Result<()> {
        let area = SVGBackend::with_string(picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (low, high) = self.range();
        // A little beyond the last evaluation, so that its point is whole.
        let last_step = self.training.len().max(1) as f64 * 1.01;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last_step, low..high)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("loss (nats per token)")
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|loss| format!("{loss:.1}"))
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        // A step's loss is that of the weights before it: step 0 stands at 0.
        let training = self.training.iter().enumerate();
        chart
            .draw_series(LineSeries::new(
                training.map(|(step, &loss)| (step as f64, loss)),
                TRAINING.stroke_width(2),
            ))?
            .label("training, each step")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], TRAINING.stroke_width(2)));
        if !self.evaluations.is_empty() {
            let points = self.evaluations.iter();
            chart
                .draw_series(points.map(|&(steps, loss)| {
                    Circle::new((steps as f64, loss), 5, EVALUATION.filled())
                }))?
                .label("evaluation, pages never trained on")
                .legend(|(x, y)| Circle::new((x + 9, y), 5, EVALUATION.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// The losses' range with some air; any range when there are none.
    fn range(&self) -> (f64, f64) {
        let evaluations = self.evaluations.iter().map(|&(_, loss)| loss);
        let finite = self
            .training
            .iter()
            .copied()
            .chain(evaluations)
            .filter(|loss| loss.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| {
            (low.min(loss), high.max(loss))
        });
        if low > high {
            return (0.0, 1.0);
        }
        let air = ((high - low) * 0.08).max(0.1);
        (low - air, high + air)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(curve: &LossCurve) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.svg");
        curve.write(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_picture_has_title_axes_line_and_points() {
        let svg = drawn(&LossCurve {
            title: "a run of two workers".to_owned(),
            training: vec![10.8, 9.5, 8.0, 7.1],
            evaluations: vec![(2, 8.9), (4, 7.4)],
        });
        assert!(svg.starts_with("<svg"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        for text in ["a run of two workers", "step", "loss (nats per token)"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.contains("<polyline"));
        // Two points and the one in the legend.
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn a_run_without_steps_is_an_empty_picture() {
        assert!(drawn(&LossCurve::default()).starts_with("<svg"));
    }
}
