//! What all handlers share.

use crate::{
    App,
    auth::{Auth, access::Door, devices::Devices},
    aws::{Surface, put_sessions::Sessions, signaling::Board},
    body::Sending,
    hls,
    page::Page,
    tls::Tls,
    whep::Viewers,
};
use media::UnixMillis;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Event streams open at a time.
const MOST_EVENT_STREAMS: usize = 128;
/// Probes of cameras under way at a time.
const MOST_PROBES: usize = 8;

/// Shared by all handlers. The application is behind the door.
pub(crate) struct Shared {
    pub(crate) door: Door,
    pub(crate) auth: Auth,
    pub(crate) devices: Devices,
    pub(crate) aws: Surface,
    pub(crate) put_media: Sessions,
    /// Signaling channels that somebody is connected to.
    pub(crate) signaling: Board,
    /// The TURN server, if there is one: it is told of candidates.
    pub(crate) turn: Option<signaling::turn::Turn>,
    pub(crate) hls: hls::Shared,
    /// Media on its way to clients.
    pub(crate) sending: Sending,
    /// WebRTC peers by session.
    pub(crate) viewers: Viewers,
    pub(crate) page: Page,
    /// The certificate of this server's own authority in PEM, where it has one.
    pub(crate) authority: Option<String>,
    /// One permit: changes that look before they write go one after another.
    pub(crate) edits: Semaphore,
    /// A permit for each open event stream.
    pub(crate) event_streams: Arc<Semaphore>,
    /// A permit for each probe of a camera under way.
    pub(crate) probes: Semaphore,
    pub(crate) stop: CancellationToken,
    /// Tasks that outlive the request they came by.
    pub(crate) tasks: TaskTracker,
    pub(crate) started_at: UnixMillis,
}

impl Shared {
    pub(crate) async fn open(
        app: App,
        tls: Vec<Tls>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, store::Error> {
        let auth = Auth::open(&app.store, &app.root, &app.aws.account().id).await?;
        let aws = Surface::open(&app)?;
        let put_media = Sessions::new(app.putmedia.clone());
        let invalid = |text| store::Error::new(store::Kind::Invalid, text);
        app.signaling.check().map_err(invalid)?;
        let signaling = Board::new(app.store.clone(), app.signaling.clone());
        let turn = app.peers.turn().cloned();
        let started_at = app.store.now();
        let sending = Sending::within(app.store.footprint(0).budget.limit_bytes);
        let authority = tls.iter().find_map(Tls::authority);
        let devices = Devices::open(&app.store, tls.iter().map(Tls::ask).collect()).await?;
        Ok(Arc::new(Shared {
            devices,
            door: Door::new(app),
            auth,
            aws,
            put_media,
            signaling,
            turn,
            hls: hls::Shared::default(),
            sending,
            viewers: Viewers::default(),
            page: Page::open(authority.is_some()),
            authority,
            edits: Semaphore::new(1),
            event_streams: Arc::new(Semaphore::new(MOST_EVENT_STREAMS)),
            probes: Semaphore::new(MOST_PROBES),
            stop,
            tasks,
            started_at,
        }))
    }
}
