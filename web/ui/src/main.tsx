import "./styles/base.css";
import "./styles/parts.css";
import "./styles/wall.css";
import "./styles/camera.css";
import "./styles/lists.css";
import { render } from "preact";
import { App } from "./app";
import { startState } from "./state";

startState();
render(<App />, document.getElementById("app")!);
