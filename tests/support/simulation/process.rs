//! Process: runs, stands still as after SIGSTOP, or is dead as after SIGKILL. All its effects pass here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use floe_core::{Error, Result};
use tokio::sync::{Notify, oneshot};

use crate::simulation::plan::Side;
use crate::simulation::world::{Fault, Place, State, World, no_answer};

pub struct Process {
    pub world: Arc<World>,
    pub host: usize,
    /// Unlike any other process of the world.
    pub pid: u32,
    /// The checkpoint store that it uses.
    pub store: usize,
    life: Mutex<Life>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    Paused,
    Dead,
}

impl Process {
    pub fn start(world: &Arc<World>, host: usize, store: usize) -> Arc<Process> {
        let pid = world.with(|it| {
            it.processes += 1;
            it.alive.insert(it.processes, true);
            it.processes
        });
        world.trace(format!("process {pid} starts on host {host}"));
        Arc::new(Process {
            world: Arc::clone(world),
            host,
            pid,
            store,
            life: Mutex::new(Life::Running),
            changed: Notify::new(),
        })
    }

    pub fn life(&self) -> Life {
        *self.life.lock().expect("no holder of this lock panics")
    }

    pub fn turn(&self, to: Life) {
        {
            let mut life = self.life.lock().expect("no holder of this lock panics");
            if *life == Life::Dead || *life == to {
                return;
            }
            *life = to;
        }
        if to == Life::Dead {
            self.world.with(|it| it.alive.insert(self.pid, false));
        }
        self.world.trace(format!("process {} is {to:?}", self.pid));
        self.changed.notify_waiters();
    }

    /// Comes back when the process is dead.
    pub async fn died(&self) {
        self.wait_for(Life::Dead).await;
    }

    /// Comes back when the process runs; from a dead one never.
    async fn pass(&self) {
        self.wait_for(Life::Running).await;
    }

    async fn wait_for(&self, wanted: Life) {
        loop {
            let changed = self.changed.notified();
            if self.life() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// Changes the world. A request that was sent lands even if nobody waits for its answer any more.
    pub async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        place: Place,
        what: String,
        apply: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.pass().await;
        let fate = self.world.with(|it| it.fate(place, true));
        if fate.crash == Some(Side::Before) {
            self.turn(Life::Dead);
            std::future::pending::<()>().await;
        }
        let line = format!("#{} p{} {what}", fate.number, self.pid);
        if let Some(Fault::Refused(kind)) = fate.fault {
            self.world.trace(format!("{line}: refused"));
            tokio::time::sleep(fate.latency).await;
            self.pass().await;
            return Err(Error::new(kind, format!("{what}: refused")));
        }

        let (answer, answered) = oneshot::channel();
        let late = match fate.fault {
            Some(Fault::Late(late)) => late,
            Some(Fault::AnswerLost | Fault::Refused(_)) | None => Duration::ZERO,
        };
        let (process, lost) = (Arc::clone(self), fate.fault.is_some());
        let latency = fate.latency;
        self.world.with(|it| it.in_flight += 1);
        tokio::spawn(async move {
            tokio::time::sleep(latency + late).await;
            let done = process.world.with(|it| {
                it.in_flight -= 1;
                apply(it)
            });
            let outcome = match &done {
                Ok(_) => "done".to_owned(),
                Err(error) => error.to_string(),
            };
            process.world.trace(format!("{line}: {outcome}{}", if lost { ", untold" } else { "" }));
            if fate.crash == Some(Side::After) {
                process.turn(Life::Dead);
            }
            // A caller that is gone needs no answer.
            let _ = answer.send(done);
        });

        let done = if lost && late > Duration::ZERO {
            tokio::time::sleep(latency).await;
            Err(no_answer(&what))
        } else {
            let done = answered.await.expect("the request lands");
            if lost { Err(no_answer(&what)) } else { done }
        };
        self.pass().await;
        done
    }

    /// Looks at the world.
    pub async fn look<T>(
        &self,
        place: Place,
        what: &str,
        look: impl FnOnce(&mut State) -> T,
    ) -> Result<T> {
        self.pass().await;
        let fate = self.world.with(|it| it.fate(place, false));
        if fate.crash.is_some() {
            self.turn(Life::Dead);
            self.pass().await;
        }
        tokio::time::sleep(fate.latency).await;
        let line = format!("#{} p{} {what}", fate.number, self.pid);
        self.world.trace(match fate.fault {
            Some(_) => format!("{line}: refused"),
            None => line,
        });
        let seen = self.world.with(look);
        self.pass().await;
        match fate.fault {
            Some(_) => Err(Error::retry(format!("{what}: refused"))),
            None => Ok(seen),
        }
    }
}
