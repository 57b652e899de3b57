import { describe, expect, it } from "vitest";
import { splitCredentials, suggestName } from "./address";
import { hrefTo, parseRoute } from "./routes";

describe("a camera's address", () => {
  it("gives its credentials away", () => {
    expect(splitCredentials("rtsp://admin:p%40ss@10.0.0.4:554/main?x=1@2")).toEqual({ url: "rtsp://10.0.0.4:554/main?x=1@2", username: "admin", password: "p@ss" });
    expect(splitCredentials("rtsp://admin:a:b@c@cam/")).toEqual({ url: "rtsp://cam/", username: "admin", password: "a:b@c" });
    expect(splitCredentials("rtsp://u:100%@cam/").password).toBe("100%");
    expect(splitCredentials("rtsp://cam/a@b")).toEqual({ url: "rtsp://cam/a@b" });
    expect(splitCredentials("not a url")).toEqual({ url: "not a url" });
  });

  it("suggests a name that is free", () => {
    expect(suggestName("rtsp://gate.example.com/1", [])).toBe("gate");
    expect(suggestName("rtsp://192.168.1.20/1", ["camera", "camera-2"])).toBe("camera-3");
    expect(suggestName("rtsp://[fe80::1]/1", [])).toMatch(/^[A-Za-z0-9_.-]+$/);
  });
});

describe("addresses of pages", () => {
  it("mean what they were made for", () => {
    expect(parseRoute(hrefTo.camera("a b/c", 1234.4))).toEqual({ page: "camera", name: "a b/c", at: 1234 });
    expect(parseRoute(hrefTo.camera("gate"))).toEqual({ page: "camera", name: "gate", at: undefined });
    expect(parseRoute(hrefTo.alerts("gate"))).toEqual({ page: "alerts", stream: "gate" });
    expect(parseRoute(hrefTo.alerts())).toEqual({ page: "alerts", stream: undefined });
  });

  it("lead to the wall when they mean nothing", () => {
    for (const hash of ["", "#", "#/nowhere", "#/camera", "#/camera/?t=5"]) expect(parseRoute(hash)).toEqual({ page: "wall" });
    expect(parseRoute("#/camera/%E0%A4%A?t=x")).toEqual({ page: "camera", name: "%E0%A4%A", at: undefined });
  });
});
