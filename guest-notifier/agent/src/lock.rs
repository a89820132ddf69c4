//! Locks of threads of which one may have ended badly: what is held must be released all the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is behind a lock, whatever became of those who had it before.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
