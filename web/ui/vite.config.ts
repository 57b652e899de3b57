import { defineConfig } from "vite";

// The page is embedded in the binary and served from `/` under a strict content security policy: everything is a file of
// our own, nothing is inlined (`assetsInlineLimit: 0` keeps images out of data: URLs).
export default defineConfig({
  base: "/",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // hls.js is a chunk of its own that is fetched when it is first needed.
    chunkSizeWarningLimit: 600,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: {
    // `npm run dev` against a running server: sign in with basic credentials in VIDICON_URL (http://key:secret@host:port).
    proxy: Object.fromEntries(["/v1", "/p"].map((path) => [path, { target: process.env["VIDICON_URL"] ?? "http://127.0.0.1:8080", changeOrigin: true }])),
  },
});
