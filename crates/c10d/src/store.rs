use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::ptr::NonNull;
use std::time::Duration;

use crate::abort::AbortHandle;
use crate::error::checked;
use crate::{Error, Result, ffi};

/// The key-value store in which the ranks of one generation meet (c10d's
/// `TCPStore`).
///
/// It has no authentication: whoever can connect can write. Serve it on an address
/// that only workers reach.
pub struct Store {
    raw: NonNull<ffi::Store>,
    abort: AbortHandle,
    address: (String, u16),
    timeout: Duration,
}

// SAFETY: TCPStore serialises its operations with a mutex and has no thread affinity;
// the handle around it is never changed.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Serves a store on `listener`, and on no other address. Bind it to port 0 to
    /// have a free one chosen.
    ///
    /// `timeout` bounds [`set`](Self::set) and [`add`](Self::add). The store stops
    /// when it and the groups that met in it are dropped.
    pub fn serve(listener: TcpListener, timeout: Duration, abort: &AbortHandle) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| {
            Error::Invalid(format!("the store's socket has no address: {error}"))
        })?;
        let host = reachable(address).to_string();
        let port = address.port();
        let fd = listener.into_raw_fd();
        let raw = checked(|error| {
            // SAFETY: the texts live as long as the call; the descriptor is given away.
            unsafe {
                ffi::c10d_store_serve(
                    abort.as_ptr(),
                    fd,
                    ffi::Text::of(&host),
                    port,
                    ffi::millis(timeout),
                    error,
                )
            }
        })?;
        Self::new(raw, abort, host, port, timeout)
    }

    /// Connects to a store; until `timeout` it tries again when nobody listens there.
    ///
    /// The next try comes after up to a second, so let the server be up first.
    pub fn connect(host: &str, port: u16, timeout: Duration, abort: &AbortHandle) -> Result<Self> {
        let raw = checked(|error| {
            // SAFETY: the texts live as long as the call.
            unsafe {
                ffi::c10d_store_connect(
                    abort.as_ptr(),
                    ffi::Text::of(host),
                    port,
                    ffi::millis(timeout),
                    error,
                )
            }
        })?;
        Self::new(raw, abort, host.to_owned(), port, timeout)
    }

    fn new(
        raw: *mut ffi::Store,
        abort: &AbortHandle,
        host: String,
        port: u16,
        timeout: Duration,
    ) -> Result<Self> {
        Ok(Self {
            raw: ffi::owned(raw)?,
            abort: abort.clone(),
            address: (host, port),
            timeout,
        })
    }

    /// The port that is served, or connected to.
    pub fn port(&self) -> u16 {
        self.address.1
    }

    /// The handle that ends the generation of this store.
    pub fn abort_handle(&self) -> &AbortHandle {
        &self.abort
    }

    /// Sets a key, replacing its value.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        checked(|error| {
            // SAFETY: the handle, the text and the bytes live as long as the call.
            unsafe {
                ffi::c10d_store_set(
                    self.as_ptr(),
                    ffi::Text::of(key),
                    value.as_ptr(),
                    value.len(),
                    error,
                );
            }
        })
    }

    /// The value of a key, once it has one.
    pub fn get(&self, key: &str, deadline: Duration) -> Result<Vec<u8>> {
        let mut len = 0;
        let data = checked(|error| {
            // SAFETY: the handle and the text live as long as the call; `len` is ours.
            unsafe {
                ffi::c10d_store_get(
                    self.as_ptr(),
                    ffi::Text::of(key),
                    ffi::millis(deadline),
                    &mut len,
                    error,
                )
            }
        })?;
        let data = ffi::owned(data)?;
        // SAFETY: on success the C side returns `len` initialised bytes.
        let value = unsafe { std::slice::from_raw_parts(data.as_ptr(), len) }.to_vec();
        // SAFETY: allocated by the C side, freed once, and not used afterwards.
        unsafe { ffi::c10d_string_free(data.as_ptr().cast()) };
        Ok(value)
    }

    /// Waits until every key has a value.
    pub fn wait(&self, keys: &[&str], deadline: Duration) -> Result<()> {
        let texts: Vec<ffi::Text> = keys.iter().map(|key| ffi::Text::of(key)).collect();
        checked(|error| {
            // SAFETY: the handle and the texts live as long as the call.
            unsafe {
                ffi::c10d_store_wait(
                    self.as_ptr(),
                    texts.as_ptr(),
                    texts.len(),
                    ffi::millis(deadline),
                    error,
                );
            }
        })
    }

    /// Adds to a counter, which begins at zero, and returns its new value.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        checked(|error| {
            // SAFETY: the handle and the text live as long as the call.
            unsafe { ffi::c10d_store_add(self.as_ptr(), ffi::Text::of(key), amount, error) }
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::Store {
        self.raw.as_ptr()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once; groups hold references of their own.
        unsafe { ffi::c10d_store_free(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("address", &self.address)
            .field("timeout", &self.timeout)
            .field("abort", &self.abort)
            .finish()
    }
}

/// Where the server itself connects to: an unspecified address stands for all of
/// this machine's.
fn reachable(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
