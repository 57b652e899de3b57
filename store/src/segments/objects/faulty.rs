//! A store of objects that misbehaves on purpose: it fails, stalls, does what it was asked without saying so, answers out of order,
//! and lists only a part. For tests and the crash torture; the rest of the program never makes one.

use super::config::{Location, StorageConfig};
use super::connect;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Making an object.
    Put,
    /// Reading one, or a part, or what is said of it.
    Get,
    /// Removing one.
    Delete,
    /// Listing.
    List,
}

/// How one request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and does nothing.
    Fail,
    /// It is refused: wrong credentials.
    Deny,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It is done, so much later.
    Late(Duration),
    /// It is done right. For gaps in a script.
    Well,
    /// Of a list: it breaks off after so many entries.
    Partial(usize),
}

#[derive(Default)]
struct Plan {
    outage: bool,
    script: HashMap<Op, VecDeque<Fault>>,
    /// Seed, and of 1000 requests how many go wrong; the longest delay of the others.
    random: Option<(u64, u32, Duration)>,
    counts: HashMap<Op, u64>,
    ignore_conditions: bool,
    listed: u64,
}

/// What the store is to do wrong. Cheap to clone; all clones are of one plan.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Until it is over, everything fails.
    pub fn outage(&self, on: bool) {
        self.plan().outage = on;
    }
    /// The next requests of this kind go so, one after the other.
    pub fn script(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.plan().script.entry(op).or_default().extend(faults);
    }
    /// From now on, of 1000 requests so many go wrong, one way or another, and the others take up to `delay`, so that they end in
    /// another order than they began. The same seed draws the same.
    pub fn random(&self, seed: u64, per_1000: u32, delay: Duration) {
        self.plan().random = Some((seed | 1, per_1000, delay));
    }
    /// Nothing more goes wrong.
    pub fn heal(&self) {
        let mut plan = self.plan();
        (plan.outage, plan.random) = (false, None);
        plan.script.clear();
    }
    /// The store overwrites where it was told not to, as some services do.
    pub fn ignore_conditions(&self) {
        self.plan().ignore_conditions = true;
    }
    /// Requests of this kind so far.
    pub fn count(&self, op: Op) -> u64 {
        self.plan().counts.get(&op).copied().unwrap_or(0)
    }

    /// Entries that lists gave so far.
    pub fn listed(&self) -> u64 {
        self.plan().listed
    }

    fn next(&self, op: Op) -> Fault {
        let mut plan = self.plan();
        *plan.counts.entry(op).or_default() += 1;
        if plan.outage {
            return Fault::Fail;
        }
        if let Some(fault) = plan.script.get_mut(&op).and_then(VecDeque::pop_front) {
            return fault;
        }
        let Some((seed, per_1000, delay)) = &mut plan.random else { return Fault::Well };
        let mut draw = || {
            // xorshift64*
            *seed ^= *seed >> 12;
            *seed ^= *seed << 25;
            *seed ^= *seed >> 27;
            seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
        };
        if draw() % 1000 >= u64::from(*per_1000) {
            return Fault::Late(delay.mul_f64(draw() as f64 / f64::from(1u32 << 31)));
        }
        match draw() % 4 {
            0 => Fault::Fail,
            1 => Fault::Deny,
            2 => Fault::Partial((draw() % 8) as usize),
            _ => Fault::Unanswered,
        }
    }
}

/// The decorator.
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl Faulty {
    /// Around a store that works.
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Faults) -> Faulty {
        Faulty { inner, faults }
    }

    /// Around the bucket of a configuration, below its prefix. Its connections are driven on the caller's runtime. Blocks.
    pub fn around(config: &StorageConfig, faults: Faults) -> std::result::Result<Faulty, crate::Error> {
        let Location::Bucket { service, bucket, prefix } = config.location()? else {
            return Err(crate::Error::of_configuration("a folder is no bucket"));
        };
        let store = connect::bucket(config, service, &bucket, tokio::runtime::Handle::current())?;
        Ok(Faulty::new(Arc::new(PrefixStore::new(store, prefix)), faults))
    }

    async fn done<T>(&self, op: Op, at: &Path, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.faults.next(op) {
            Fault::Well => work.await,
            Fault::Late(by) => {
                tokio::time::sleep(by).await;
                work.await
            }
            Fault::Unanswered => work.await.and_then(|_| Err(failed("the answer was lost"))),
            Fault::Fail | Fault::Partial(_) => Err(failed("injected")),
            Fault::Deny => Err(Error::PermissionDenied { path: at.to_string(), source: "injected".into() }),
        }
    }

    fn listed(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let counted = self.faults.clone();
        let list = list.inspect(move |_| counted.plan().listed += 1).boxed();
        let broken = |error: Error| futures_util::stream::once(async move { Err(error) }).boxed();
        match self.faults.next(Op::List) {
            Fault::Well => list,
            Fault::Late(by) => tokio::time::sleep(by).map(|()| list).into_stream().flatten().boxed(),
            Fault::Partial(count) => list.take(count).chain(broken(failed("the list broke off"))).boxed(),
            Fault::Fail | Fault::Unanswered => broken(failed("injected")),
            Fault::Deny => broken(Error::PermissionDenied { path: String::new(), source: "injected".into() }),
        }
    }
}

fn failed(why: &str) -> Error {
    Error::Generic { store: "faulty", source: why.into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        if self.faults.plan().ignore_conditions {
            opts.mode = object_store::PutMode::Overwrite;
        }
        self.done(Op::Put, at, self.inner.put_opts(at, payload, opts)).await
    }
    async fn put_multipart_opts(&self, at: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }
    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.done(Op::Get, at, self.inner.get_opts(at, options)).await
    }
    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.done(Op::Get, at, self.inner.get_ranges(at, ranges)).await
    }
    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        let removed = at.then(move |at| {
            let one = Faulty { inner: inner.clone(), faults: faults.clone() };
            async move {
                let at = at?;
                let work = object_store::ObjectStoreExt::delete(&one.inner, &at);
                one.done(Op::Delete, &at, work).await.map(|()| at)
            }
        });
        removed.boxed()
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
