// Hooks over browser observers.

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

/** Whether an element is on screen and the tab is shown. Hiding is told late, so that a quick scroll or tab switch costs nothing. */
export function useVisible(ref: RefObject<Element | null>, hideAfterMs = 2500): boolean {
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    let inView = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const update = (): void => {
      clearTimeout(timer);
      if (inView && !document.hidden) setVisible(true);
      else timer = setTimeout(() => setVisible(false), hideAfterMs);
    };
    const observer = new IntersectionObserver(
      (entries) => {
        inView = entries[entries.length - 1]!.isIntersecting;
        update();
      },
      { rootMargin: "80px" },
    );
    observer.observe(ref.current!);
    document.addEventListener("visibilitychange", update);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
      document.removeEventListener("visibilitychange", update);
    };
  }, []);
  return visible;
}

/** The size of an element, in CSS pixels. */
export function useSize(ref: RefObject<Element | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry!.contentRect;
      setSize((old) => (old.width === width && old.height === height ? old : { width, height }));
    });
    observer.observe(ref.current!);
    return () => observer.disconnect();
  }, []);
  return size;
}
