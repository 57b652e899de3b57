// Line icons on a 20 × 20 grid, drawn for this page. Decorative: the control around an icon carries the name.

const PATHS = {
  wall: "M3 4h6v5H3zM11 4h6v5h-6zM3 11h6v5H3zM11 11h6v5h-6z",
  bell: "M5 14V9a5 5 0 0 1 10 0v5l1.2 1.5H3.8zM8.3 17.5a2 2 0 0 0 3.4 0",
  target: "M3 10h9M8.5 6 12.5 10l-4 4M12 3.5h4.5v13H12",
  signal: "M3.5 16.5v-3M8 16.5v-6M12.5 16.5v-9.5M17 16.5v-13",
  plus: "M10 4v12M4 10h12",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v2M10 16v2M2 10h2M16 10h2M4.3 4.3l1.4 1.4M14.3 14.3l1.4 1.4M15.7 4.3l-1.4 1.4M5.7 14.3l-1.4 1.4",
  moon: "M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8z",
  auto: "M10 3a7 7 0 1 1 0 14zM10 3a7 7 0 0 0 0 14z",
  out: "M8 4H4v12h4M8.5 10H17M13.5 6.5 17 10l-3.5 3.5",
  back: "M12 4.5 6.5 10l5.5 5.5",
  play: "M6.5 4v12l9-6z",
  pause: "M6.5 4.5v11M13.5 4.5v11",
  rewind: "M10 5 4.5 10l5.5 5zM16.5 5 11 10l5.5 5z",
  forward: "M10 5l5.5 5-5.5 5zM3.5 5 9 10l-5.5 5z",
  full: "M4 8V4h4M12 4h4v4M16 12v4h-4M8 16H4v-4",
  boxes: "M4 7V4h3M13 4h3v3M16 13v3h-3M7 16H4v-3M8 8h4v4H8z",
  link: "M8.5 11.5a3 3 0 0 0 4.2 0l2.4-2.4a3 3 0 0 0-4.2-4.2l-1 1M11.5 8.5a3 3 0 0 0-4.2 0l-2.4 2.4a3 3 0 0 0 4.2 4.2l1-1",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10.5h7.6L14.5 6M8.5 9v4.5M11.5 9v4.5",
  edit: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2zM11.5 6 14 8.5",
  warn: "M10 3.5 17.5 16.5h-15zM10 8.5v4M10 14.6v.1",
  camera: "M3 6h10v8H3zM13 9l4-2.3v6.6L13 11",
  check: "M4 10.5 8.2 14.5 16 5.5",
  sound: "M4 8v4h3l4 3.5v-11L7 8zM13.5 7.5a3.5 3.5 0 0 1 0 5M15.5 5a7 7 0 0 1 0 10",
  mute: "M4 8v4h3l4 3.5v-11L7 8zM13.5 8l4 4M17.5 8l-4 4",
  retry: "M15.5 8A6 6 0 1 0 16 11.5M16 4v4h-4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark: a tube's round face with the beam that writes on it. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <circle class="logo-tube" cx="12" cy="12" r="10" />
      <path class="logo-beam" d="M6.6 7.6 12 16.4l5.4-8.8" />
      <circle class="logo-spot" cx="12" cy="16.4" r="2" />
    </svg>
  );
}
