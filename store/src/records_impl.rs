//! The plain records of the store's public face: cameras, rules, targets, detections, alerts, deliveries.

use crate::catalog::configs::{self, Table};
use crate::catalog::{alerts, detections};
use crate::records::{Alert, Camera, Delivery, Detection, Rule, Target};
use crate::{Error, Kind, Notice, Range, Store};
use media::{StreamName, UnixMillis};
use std::sync::Arc;

impl Store {
    /// All cameras.
    pub async fn cameras(&self) -> Result<Vec<Camera>, Error> {
        self.catalog().read(|c| configs::all(c, Table::Cameras)).await
    }
    /// Adds or replaces a camera; creates its stream if there is none.
    pub async fn put_camera(&self, camera: Camera) -> Result<(), Error> {
        match self.create_stream(&camera.stream, None).await {
            Ok(_) => {}
            Err(e) if e.kind() == Kind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        self.catalog().write(move |c| configs::put(c, Table::Cameras, &camera.stream, &camera)).await?;
        self.notify(Notice::Cameras);
        Ok(())
    }
    /// Removes a camera; its stream and recordings stay.
    pub async fn delete_camera(&self, stream: &StreamName) -> Result<(), Error> {
        let name = stream.clone();
        self.catalog().write(move |c| configs::delete(c, Table::Cameras, &name)).await?;
        self.notify(Notice::Cameras);
        Ok(())
    }
    /// All rules.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        self.catalog().read(|c| configs::all(c, Table::Rules)).await
    }
    /// Adds or replaces a rule.
    pub async fn put_rule(&self, rule: Rule) -> Result<(), Error> {
        self.catalog().write(move |c| configs::put(c, Table::Rules, &rule.name, &rule)).await?;
        self.notify(Notice::Rules);
        Ok(())
    }
    /// Removes a rule.
    pub async fn delete_rule(&self, name: &StreamName) -> Result<(), Error> {
        let name = name.clone();
        self.catalog().write(move |c| configs::delete(c, Table::Rules, &name)).await?;
        self.notify(Notice::Rules);
        Ok(())
    }
    /// All targets.
    pub async fn targets(&self) -> Result<Vec<Target>, Error> {
        self.catalog().read(|c| configs::all(c, Table::Targets)).await
    }
    /// Adds or replaces a target.
    pub async fn put_target(&self, target: Target) -> Result<(), Error> {
        self.catalog().write(move |c| configs::put(c, Table::Targets, &target.name, &target)).await?;
        self.notify(Notice::Targets);
        Ok(())
    }
    /// Removes a target; its pending deliveries become dead.
    pub async fn delete_target(&self, name: &StreamName) -> Result<(), Error> {
        let name = name.clone();
        self.catalog()
            .write(move |c| {
                let tx = c.transaction().map_err(crate::catalog::db)?;
                configs::delete(&tx, Table::Targets, &name)?;
                alerts::give_up(&tx, &name)?;
                tx.commit().map_err(crate::catalog::db)
            })
            .await?;
        self.notify(Notice::Targets);
        self.notify(Notice::Deliveries);
        Ok(())
    }

    /// Stores the detections of one picture.
    pub async fn add_detections(&self, stream: &StreamName, found: Vec<Detection>) -> Result<(), Error> {
        let id = self.state(stream)?.id();
        let found = Arc::new(found);
        let rows = found.clone();
        self.catalog().write(move |c| detections::insert(c, id, &rows)).await?;
        self.notify(Notice::Detections(stream.clone(), found));
        Ok(())
    }
    /// Detections of a stream in a range, oldest first, at most `limit`.
    pub async fn detections(&self, stream: &StreamName, range: Range, limit: usize) -> Result<Vec<Detection>, Error> {
        let id = self.state(stream)?.id();
        self.catalog().read(move |c| detections::list(c, id, range, limit)).await
    }
    /// Stores an alert with its snapshot and one pending delivery per target, in one transaction.
    pub async fn raise_alert(&self, alert: Alert, snapshot_jpeg: Vec<u8>, targets: &[StreamName]) -> Result<(), Error> {
        let id = self.state(&alert.stream)?.id();
        let snapshot_jpeg = match self.inner.shared.keys.to_encrypt(id) {
            Some(key) => key.encrypt_snapshot(id, &alert.id, &snapshot_jpeg)?.into(),
            None => snapshot_jpeg,
        };
        let (alert, targets) = (Arc::new(alert), targets.to_vec());
        let raised = alert.clone();
        self.catalog().write(move |c| alerts::raise(c, id, &raised, &snapshot_jpeg, &targets)).await?;
        self.notify(Notice::Alert(alert));
        self.notify(Notice::Deliveries);
        Ok(())
    }
    /// Alerts, newest first, older than `before` (an alert id), of one stream or all, at most `limit`.
    pub async fn alerts(
        &self,
        stream: Option<&StreamName>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Alert>, Error> {
        let id = stream.map(|name| self.state(name)).transpose()?.map(|state| state.id());
        let before = before.map(str::to_owned);
        self.catalog().read(move |c| alerts::list(c, id, before.as_deref(), limit)).await
    }
    /// Alerts of a stream in a range of producer time, oldest first, at most `limit`.
    pub async fn alerts_in(&self, stream: &StreamName, range: Range, limit: usize) -> Result<Vec<Alert>, Error> {
        let id = self.state(stream)?.id();
        self.catalog().read(move |c| alerts::list_in(c, id, range, limit)).await
    }
    /// One alert.
    pub async fn alert(&self, id: &str) -> Result<Alert, Error> {
        let id = id.to_owned();
        self.catalog().read(move |c| alerts::get(c, &id)).await
    }
    /// An alert's snapshot (JPEG).
    pub async fn snapshot(&self, alert_id: &str) -> Result<Vec<u8>, Error> {
        let id = alert_id.to_owned();
        let (stream, stored) = self.catalog().read(move |c| alerts::snapshot(c, &id)).await?;
        self.inner.shared.keys.snapshot(stream, alert_id, stored)
    }
    /// Pending deliveries due at `now`, oldest first, at most `limit`.
    pub async fn due_deliveries(&self, now: UnixMillis, limit: usize) -> Result<Vec<Delivery>, Error> {
        self.catalog().read(move |c| alerts::due(c, now, limit)).await
    }
    /// When the next pending delivery is due, if any.
    pub async fn next_delivery_at(&self) -> Result<Option<UnixMillis>, Error> {
        self.catalog().read(|c| alerts::next_at(c)).await
    }
    /// Writes back the state of a delivery after an attempt.
    pub async fn update_delivery(&self, delivery: &Delivery) -> Result<(), Error> {
        let delivery = delivery.clone();
        self.catalog().write(move |c| alerts::update(c, &delivery)).await?;
        self.notify(Notice::Deliveries);
        Ok(())
    }
    /// Deliveries, newest first, of one alert or all, at most `limit`.
    pub async fn deliveries(&self, alert: Option<&str>, limit: usize) -> Result<Vec<Delivery>, Error> {
        let alert = alert.map(str::to_owned);
        self.catalog().read(move |c| alerts::deliveries(c, alert.as_deref(), limit)).await
    }
    /// Makes a dead delivery pending again, due now. `Conflict` if it is not dead.
    pub async fn redrive(&self, delivery_id: u64) -> Result<(), Error> {
        let now = self.now();
        self.catalog().write(move |c| alerts::redrive(c, delivery_id, now)).await?;
        self.notify(Notice::Deliveries);
        Ok(())
    }
    /// When the oldest delivery that is still pending was put into the outbox.
    pub async fn oldest_pending(&self) -> Result<Option<UnixMillis>, Error> {
        self.catalog().read(|c| alerts::oldest_pending(c)).await
    }
}
