// The colour of each detected class. Fixed, not themed: they are drawn over pictures, and the same in every place.

const NAMED: Record<string, string> = {
  person: "#ffb13d",
  bicycle: "#4cc2ff",
  car: "#b58cff",
  motorcycle: "#4ce0c3",
  bus: "#ff8fb8",
  truck: "#8fa8ff",
  dog: "#d8e85a",
  cat: "#ff9a76",
};

const OTHERS = ["#7ee787", "#ffd166", "#9bdcff", "#e3a8ff", "#ffa8a8", "#a8ffe0"];

export function colourOf(name: string): string {
  const named = NAMED[name];
  if (named) return named;
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  return OTHERS[hash % OTHERS.length]!;
}

/** The colour of alerts and of what went wrong. */
export const ALERT_COLOUR = "#ff5a45";
