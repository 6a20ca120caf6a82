use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Tensor};

use crate::abort::AbortHandle;
use crate::error::checked;
use crate::store::Store;
use crate::work::Work;
use crate::{Error, Result, ffi};

/// A rank of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// From 0; every rank of the group is taken once.
    pub rank: usize,
    /// How many ranks there are.
    pub world: usize,
}

/// What all ranks of a group agree on beforehand.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// How long meeting the other ranks, and then each operation, may take.
    pub timeout: Duration,
    /// How long aborting an NCCL communicator may take before it counts as hung.
    pub abort_timeout: Duration,
    /// Tells apart the groups of one kind that meet in one store.
    pub name: String,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            abort_timeout: Duration::from_secs(10),
            name: String::new(),
        }
    }
}

/// Where a Gloo group listens for its peers, who must be able to reach it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// An address of this machine, or a host name that resolves to one.
    Address(String),
    /// The name of a network interface, such as `eth0`.
    Interface(String),
}

/// Ranks that run collectives together.
///
/// All ranks must issue the same operations in the same order, with tensors of the
/// same shape and kind: `float`, `double` or `int64`, on the group's device. Each
/// operation returns when it is complete on this rank, fails, reaches its deadline, or
/// is aborted; in the last three cases its tensor is as it was, and the group is over.
///
/// A world of one touches no network, and its collectives are identities.
#[derive(Clone)]
pub struct Group {
    raw: Arc<Raw>,
    abort: AbortHandle,
    member: Member,
    device: Device,
    timeout: Duration,
}

struct Raw(NonNull<ffi::Group>);

// SAFETY: the C++ group locks what its methods share, has no thread affinity, and is
// destroyed on a thread of its own.
unsafe impl Send for Raw {}
// SAFETY: as above; launching is serialised by a mutex.
unsafe impl Sync for Raw {}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once; works and reducers hold this `Raw` or a C++
        // reference of their own.
        unsafe { ffi::c10d_group_free(self.0.as_ptr()) }
    }
}

impl Group {
    /// Meets the other ranks in `store` and connects to each over TCP (Gloo). CPU.
    pub fn gloo(
        store: &Store,
        member: Member,
        network: &Network,
        options: &GroupOptions,
    ) -> Result<Self> {
        let (kind, name) = match network {
            Network::Address(name) => (ffi::NETWORK_HOSTNAME, name),
            Network::Interface(name) => (ffi::NETWORK_INTERFACE, name),
        };
        let settings = settings(member, options)?;
        let raw = checked(|error| {
            // SAFETY: handle, settings and texts live as long as the call.
            unsafe {
                ffi::c10d_group_gloo(store.as_ptr(), &settings, kind, ffi::Text::of(name), error)
            }
        })?;
        Self::new(
            raw,
            store.abort_handle(),
            member,
            Device::Cpu,
            options.timeout,
        )
    }

    /// Meets the other ranks in `store` and makes an NCCL communicator for the GPU
    /// with this index.
    ///
    /// Without the feature `cuda` this is [`Error::Invalid`]. An abort returns once
    /// the communicator is gone, or as [`Error::AbortHung`] after
    /// [`GroupOptions::abort_timeout`].
    #[cfg(feature = "cuda")]
    pub fn nccl(
        store: &Store,
        member: Member,
        device: usize,
        options: &GroupOptions,
    ) -> Result<Self> {
        crate::device_available(Device::Cuda(device))?;
        let settings = settings(member, options)?;
        let index = index(device)?;
        let raw = checked(|error| {
            // SAFETY: handle and settings live as long as the call.
            unsafe { ffi::c10d_group_nccl(store.as_ptr(), &settings, index, error) }
        })?;
        Self::new(
            raw,
            store.abort_handle(),
            member,
            Device::Cuda(device),
            options.timeout,
        )
    }

    /// Meets the other ranks in `store` and makes an NCCL communicator for the GPU
    /// with this index.
    ///
    /// This build has no NCCL: always [`Error::Invalid`].
    #[cfg(not(feature = "cuda"))]
    pub fn nccl(
        _store: &Store,
        _member: Member,
        _device: usize,
        _options: &GroupOptions,
    ) -> Result<Self> {
        Err(Error::Invalid(crate::device::NO_CUDA.to_owned()))
    }

    /// A world of one.
    pub fn alone(device: Device, abort: &AbortHandle) -> Result<Self> {
        crate::device_available(device)?;
        let place = match device {
            Device::Cuda(number) => ffi::Device {
                kind: ffi::CUDA,
                index: index(number)?,
            },
            _ => ffi::Device {
                kind: ffi::CPU,
                index: 0,
            },
        };
        let raw = checked(|error| {
            // SAFETY: the handle lives as long as the call.
            unsafe { ffi::c10d_group_alone(abort.as_ptr(), place, error) }
        })?;
        let member = Member { rank: 0, world: 1 };
        Self::new(raw, abort, member, device, GroupOptions::default().timeout)
    }

    fn new(
        raw: *mut ffi::Group,
        abort: &AbortHandle,
        member: Member,
        device: Device,
        timeout: Duration,
    ) -> Result<Self> {
        Ok(Self {
            raw: Arc::new(Raw(ffi::owned(raw)?)),
            abort: abort.clone(),
            member,
            device,
            timeout,
        })
    }

    /// This process's rank.
    pub fn rank(&self) -> usize {
        self.member.rank
    }

    /// How many ranks there are.
    pub fn world(&self) -> usize {
        self.member.world
    }

    /// Where the tensors of its operations must be.
    pub fn device(&self) -> Device {
        self.device
    }

    /// How long an operation may take when nothing else is said.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The handle that ends the generation of this group.
    pub fn abort_handle(&self) -> &AbortHandle {
        &self.abort
    }

    /// Ends the generation, as [`AbortHandle::abort`] does.
    pub fn abort(&self, reason: &str) {
        self.abort.abort(reason);
    }

    /// Replaces the tensor, in place, by its sum over the ranks.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<()> {
        self.start_all_reduce(tensor)?.wait()
    }

    /// Begins [`all_reduce`](Self::all_reduce). The tensor's values are taken now.
    pub fn start_all_reduce(&self, tensor: &Tensor) -> Result<Work> {
        let raw = checked(|error| {
            // SAFETY: handle and tensor live as long as the call; C++ keeps its own
            // reference to the tensor.
            unsafe { ffi::c10d_group_all_reduce(self.as_ptr(), ffi::tensor(tensor), error) }
        })?;
        Work::new(self.clone(), raw)
    }

    /// Replaces the tensor, in place, by that of rank `root`.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<()> {
        self.start_broadcast(tensor, root)?.wait()
    }

    /// Begins [`broadcast`](Self::broadcast). The root's values are taken now.
    pub fn start_broadcast(&self, tensor: &Tensor, root: usize) -> Result<Work> {
        let root = i32::try_from(root).unwrap_or(-1);
        let raw = checked(|error| {
            // SAFETY: as in `start_all_reduce`.
            unsafe { ffi::c10d_group_broadcast(self.as_ptr(), ffi::tensor(tensor), root, error) }
        })?;
        Work::new(self.clone(), raw)
    }

    /// The tensors of all ranks, in the order of ranks. They are new and contiguous.
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>> {
        let mut out = vec![ptr::null_mut::<ffi::Tensor>(); self.member.world];
        checked(|error| {
            // SAFETY: handle and tensor live as long as the call; `out` has room for
            // one tensor per rank.
            unsafe {
                ffi::c10d_group_all_gather(
                    self.as_ptr(),
                    ffi::tensor(tensor),
                    out.as_mut_ptr(),
                    ffi::millis(self.timeout),
                    error,
                );
            }
        })?;
        Ok(out
            .into_iter()
            // SAFETY: on success each is an owned `at::Tensor*`, which is what tch's
            // tensors are, and none is null.
            .map(|raw| unsafe { Tensor::from_ptr(raw.cast()) })
            .collect())
    }

    /// Waits until every rank is here.
    pub fn barrier(&self) -> Result<()> {
        checked(|error| {
            // SAFETY: the handle lives as long as the call.
            unsafe { ffi::c10d_group_barrier(self.as_ptr(), ffi::millis(self.timeout), error) }
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::Group {
        self.raw.0.as_ptr()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("member", &self.member)
            .field("device", &self.device)
            .field("timeout", &self.timeout)
            .field("abort", &self.abort)
            .finish()
    }
}

/// The result borrows from `options`.
fn settings(member: Member, options: &GroupOptions) -> Result<ffi::GroupOptions> {
    if member.world == 0 {
        return Err(Error::Invalid(
            "a group needs a world of at least 1".to_owned(),
        ));
    }
    if member.rank >= member.world {
        return Err(Error::Invalid(format!(
            "rank {} is outside a world of {}",
            member.rank, member.world
        )));
    }
    let number = |value: usize| {
        i32::try_from(value).map_err(|_| Error::Invalid(format!("a world of {value} is too large")))
    };
    Ok(ffi::GroupOptions {
        rank: number(member.rank)?,
        world: number(member.world)?,
        timeout_ms: ffi::millis(options.timeout),
        abort_timeout_ms: ffi::millis(options.abort_timeout),
        name: ffi::Text::of(&options.name),
    })
}

fn index(device: usize) -> Result<i32> {
    i32::try_from(device).map_err(|_| Error::Invalid(format!("there is no device cuda:{device}")))
}
