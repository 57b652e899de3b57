// One camera: its picture, live or of the past, its timeline, and what there is to know and to set about it.

import { useComputed, useSignal, type Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Millis, Rule } from "../api";
import type { LiveState } from "../player/live";
import { LiveVideo } from "../player/live-video";
import { RecordedVideo } from "../player/recorded-video";
import type { RecordedPlayer } from "../player/recorded";
import type { ReceiveFigures } from "../player/whep";
import { isLive } from "../pushed";
import { hrefTo, noteMoment, type Route } from "../router";
import { cameraOf, cameras, glowing, now, refreshCameras, serverNow } from "../state";
import { TimelineSource } from "../timeline/data";
import { atPresent, HOUR, reveal, type View } from "../timeline/scale";
import { Timeline } from "../timeline/timeline";
import { Empty, ErrorNote } from "../ui/bits";
import { Icon } from "../ui/icons";
import { CameraPanel } from "./camera-panel";
import { StateDot, StatePanel, stateWord, TransportBadge } from "./camera-state";
import { Controls } from "./controls";
import { ZoneEditor } from "./zone-editor";

/** Where the address leads. A new one for each visit, so that the same link can be followed twice. */
type Visit = Extract<Route, { page: "camera" }>;

export function CameraPage({ visit }: { visit: Visit }) {
  const { name } = visit;
  const { items, error } = cameras.value;
  if (!items) return error ? <ErrorNote message={error} onRetry={() => void refreshCameras()} /> : <div class="skeleton big" aria-hidden="true" />;
  if (!cameraOf(name)) {
    return (
      <Empty icon="camera" title={`There is no camera or stream “${name}”`}>
        <a class="button" href={hrefTo.wall}>
          To the wall
        </a>
      </Empty>
    );
  }
  return <CameraView visit={visit} />;
}

/** Ticks the moment shown into a signal, as often as it is worth drawing. */
function usePlayhead(recorded: RecordedPlayer | undefined, live: boolean, clock: RefObject<(() => number | undefined) | undefined>): Signal<Millis | undefined> {
  const playhead = useSignal<Millis | undefined>(undefined);
  useEffect(() => {
    const tick = (): void => {
      // WebRTC shows the present; HLS says how far behind it is.
      playhead.value = live ? (clock.current?.() ?? serverNow()) : recorded?.shownAt();
    };
    tick();
    const timer = setInterval(tick, live ? 1000 : 100);
    return () => clearInterval(timer);
  }, [recorded, live]);
  return playhead;
}

function CameraView({ visit }: { visit: Visit }) {
  const { name, at } = visit;
  const camera = cameraOf(name)!;
  const source = useMemo(() => new TimelineSource(name), [name]);
  useEffect(() => () => source.close(), [source]);
  const view = useSignal<View>(atPresent(HOUR, serverNow()));
  const [moment, setMoment] = useState<Millis | undefined>(at);
  const [player, setPlayer] = useState<LiveState>({ phase: "idle" });
  const [figures, setFigures] = useState<ReceiveFigures | undefined>(undefined);
  const [recorded, setRecorded] = useState<RecordedPlayer | undefined>(undefined);
  const editing = useSignal<Rule | undefined>(undefined);
  const stage = useRef<HTMLDivElement>(null);
  const live = moment === undefined;
  const clock = useRef<(() => number | undefined) | undefined>(undefined);
  const playhead = usePlayhead(recorded, live, clock);
  const zone = useComputed(() => editing.value?.zone ?? []);

  const playOn = useRef(true);
  const seek = (to: Millis, play = true): void => {
    playOn.current = play;
    if (to >= serverNow() - 1500) return goLive();
    view.value = reveal(view.peek(), to, serverNow());
    recorded?.seek(to, play);
    setMoment(to);
    noteMoment(name, to);
  };
  const goLive = (): void => {
    setMoment(undefined);
    setRecorded(undefined);
    view.value = reveal(view.peek(), serverNow(), serverNow());
    noteMoment(name, undefined);
  };
  useEffect(() => {
    if (at !== undefined) seek(at);
    else if (!live) goLive();
  }, [visit]);

  // The view follows what plays, unless it was moved elsewhere.
  useEffect(() => {
    const timer = setInterval(() => {
      const [shown, { from, to }] = [live ? serverNow() : playhead.peek(), view.peek()];
      if (shown !== undefined && shown >= from && shown < to + 5000) view.value = reveal(view.peek(), shown, serverNow());
    }, 1000);
    return () => clearInterval(timer);
  }, [live]);

  const statusLive = isLive(camera.status);
  const hasPicture = live ? statusLive && player.phase === "playing" : true;
  return (
    <div class="camera">
      <div class="camera-main">
        <header class="camera-head">
          <a class="icon-button" href={hrefTo.wall} aria-label="Back to the wall" title="Back to the wall">
            <Icon name="back" />
          </a>
          <h1>{name}</h1>
          <span class="state-word">
            <StateDot status={camera.status} /> {stateWord(camera.status)}
          </span>
          {live && statusLive && <TransportBadge state={player} />}
        </header>
        <div ref={stage} class="stage" data-alert={live && glowing.value.has(name)}>
          {live && statusLive && (
            <LiveVideo stream={name} label={`${name} live`} labels audible={player.phase === "playing" && player.transport === "hls"} clock={clock} zone={editing.value ? [] : zone.value} onState={setPlayer} onFigures={setFigures} />
          )}
          {!live && <RecordedVideo stream={name} at={moment} play={playOn.current} onPlayer={setRecorded} onPresent={goLive} source={source} />}
          {!hasPicture && <StatePanel camera={camera} player={player} />}
          {editing.value && <ZoneEditor rule={editing as Signal<Rule>} stage={stage} />}
        </div>
        <Controls name={name} live={live} playhead={playhead} player={recorded} stage={stage} onSeek={seek} onLive={goLive} frameMs={1000 / (camera.fps || 25)} />
        <Timeline source={source} view={view} playhead={playhead} live={live} onSeek={seek} />
      </div>
      <CameraPanel camera={camera} figures={live && player.phase === "playing" && player.transport === "webrtc" ? figures : undefined} editing={editing} now={now.value} />
    </div>
  );
}
