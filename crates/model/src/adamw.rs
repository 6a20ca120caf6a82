//! The AdamW optimizer (Loshchilov & Hutter 2019).

use run::Decay;
use tch::{Kind, Tensor};

use crate::error::ModelError;
use crate::gpt2::Gpt2;
use crate::gradients::gradients;

/// AdamW over a model's parameters, with libtorch's fused kernels.
///
/// It keeps handles on the parameters, and two moments of each gradient beside
/// them, on the same device.
#[derive(Debug)]
pub struct AdamW {
    settings: run::AdamW,
    parameters: Vec<(String, Tensor)>,
    /// Running mean of each gradient.
    means: Vec<Tensor>,
    /// Running mean of each gradient's square.
    squares: Vec<Tensor>,
    /// How many updates each parameter has had, as fp32 scalars on the device,
    /// where the kernels count. None ever misses a step, so all say `steps`.
    counters: Vec<Tensor>,
    groups: Vec<Group>,
    steps: u64,
}

/// Parameters that decay alike.
#[derive(Debug)]
struct Group {
    weight_decay: f64,
    /// Indices into `parameters`.
    members: Vec<usize>,
}

impl AdamW {
    /// An optimizer that has taken no step.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(model: &Gpt2, settings: &run::AdamW) -> Result<AdamW, ModelError> {
        let mut parameters = Vec::new();
        let mut means = Vec::new();
        let mut squares = Vec::new();
        let mut counters = Vec::new();
        let mut decaying = Vec::new();
        let mut constant = Vec::new();
        for (index, (name, parameter)) in model.parameters().iter().enumerate() {
            parameters.push((name.clone(), parameter.shallow_clone()));
            let options = (Kind::Float, model.device());
            means.push(Tensor::f_zeros(parameter.size(), options)?);
            squares.push(Tensor::f_zeros(parameter.size(), options)?);
            counters.push(Tensor::f_zeros([0_i64; 0], options)?);
            if decays(settings.decay, parameter) {
                decaying.push(index);
            } else {
                constant.push(index);
            }
        }
        // An empty group would be an update of nothing, which libtorch refuses.
        let groups = [(settings.weight_decay, decaying), (0.0, constant)];
        let groups = groups
            .into_iter()
            .filter(|(_, members)| !members.is_empty())
            .map(|(weight_decay, members)| Group {
                weight_decay,
                members,
            })
            .collect();
        Ok(AdamW {
            settings: settings.clone(),
            parameters,
            means,
            squares,
            counters,
            groups,
            steps: 0,
        })
    }

    /// How many steps have been taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step along the parameters' gradients, which should be of a
    /// mean ([`Gpt2::average_gradients`]). The learning rate is the step's own:
    /// the schedule is the run's.
    ///
    /// # Errors
    /// When a parameter has no gradient, or libtorch fails.
    pub fn step(&mut self, learning_rate: f64) -> Result<(), ModelError> {
        let gradients = gradients(&self.parameters)?;
        let parameters: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|(_, parameter)| parameter.shallow_clone())
            .collect();
        for group in &self.groups {
            let pick = |from: &[Tensor]| -> Vec<Tensor> {
                let members = group.members.iter();
                members.map(|&index| from[index].shallow_clone()).collect()
            };
            let hyper = c10d::AdamWHyper {
                lr: learning_rate,
                beta1: self.settings.beta1,
                beta2: self.settings.beta2,
                weight_decay: group.weight_decay,
                eps: self.settings.eps,
            };
            c10d::fused_adamw_(
                &pick(&parameters),
                &pick(&gradients),
                &pick(&self.means),
                &pick(&self.squares),
                &pick(&self.counters),
                hyper,
            )?;
        }
        self.steps += 1;
        Ok(())
    }

    /// For each parameter, its name and the running means of its gradient and
    /// of the gradient's square, in the order of the model's parameters: what
    /// a newcomer receives from a survivor, and what is saved.
    pub fn moments(&self) -> impl Iterator<Item = (&str, &Tensor, &Tensor)> {
        let names = self.parameters.iter().map(|(name, _)| name.as_str());
        let pairs = self.means.iter().zip(&self.squares);
        names
            .zip(pairs)
            .map(|(name, (mean, square))| (name, mean, square))
    }

    /// Says that the moments, which were overwritten from elsewhere, are those
    /// after this many steps.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn set_steps(&mut self, steps: u64) -> Result<(), ModelError> {
        for counter in &mut self.counters {
            let _ = counter.f_fill_(steps as f64)?;
        }
        self.steps = steps;
        Ok(())
    }
}

/// Whether a parameter's weights are drawn towards 0.
fn decays(decay: Decay, parameter: &Tensor) -> bool {
    match decay {
        Decay::Everywhere => true,
        // Projections and embeddings; not biases and layer norms.
        Decay::MatricesOnly => parameter.dim() >= 2,
    }
}
