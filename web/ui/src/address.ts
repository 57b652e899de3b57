// Addresses of cameras as people paste them. Pure.

export interface Parts {
  url: string;
  username?: string;
  password?: string;
}

/** A pasted `rtsp://user:password@host/…` is taken apart, so that the password is not shown as part of the address. */
export function splitCredentials(url: string): Parts {
  // The last `@` before the path ends the credentials: cameras' own apps paste passwords with `@` in them.
  const match = /^(rtsp:\/\/)([^/]*)@([^/]*.*)$/i.exec(url);
  if (!match) return { url };
  const [user = "", ...rest] = match[2]!.split(":");
  return { url: match[1]! + match[3]!, username: decoded(user), password: decoded(rest.join(":")) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A name out of the address's host, or `camera`; numbered when it is taken. */
export function suggestName(url: string, taken: readonly string[]): string {
  const host = /^rtsp:\/\/([^/:]+)/i.exec(url)?.[1] ?? "";
  const base = /[a-z]/i.test(host) ? host.split(".")[0]!.replace(/[^A-Za-z0-9_.-]/g, "-") : "camera";
  let name = base;
  for (let i = 2; taken.includes(name); i++) name = `${base}-${i}`;
  return name;
}
