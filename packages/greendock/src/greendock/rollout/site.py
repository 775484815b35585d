"""One run: the application, Nginx or both, whatever has changed, in the order that loses nothing.

First everything is built and tried, then the application is replaced, then Nginx. Static files of both versions lie on
Nginx's volume from before the first switch, so that a page of either finds its own.
"""

from __future__ import annotations

from greendock.rollout.engine import Container, Engine, EngineError
from greendock.rollout.judging import Judge
from greendock.rollout.nginx import NginxRollout
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import NGINX, PORT, find_proxy
from greendock.rollout.rollout import APP, Options, Outcome, Rollout
from greendock.rollout.waiting import RolloutError


class SiteRollout:
    """``app``, ``nginx``: what is rolled out."""

    def __init__(self, engine: Engine, progress: Progress, options: Options, *, app: bool, nginx: bool) -> None:
        self._engine = engine
        self._progress = progress
        self._options = options
        self._services = engine.services()
        for name in (APP, NGINX):
            if name not in self._services:
                raise EngineError(f"the Compose file has no service {name}")
        port = self._services.get(PORT)
        if port is None or not any(each.alive for each in engine.containers(port)):
            raise RolloutError(
                f"no container of {PORT} runs, which holds the published ports: `docker compose up --detach --wait` "
                "starts it, once with a gap of seconds"
            )
        self._judge = Judge(engine, progress, self._services[APP])
        self._with_app = app
        self._nginx = NginxRollout(engine, progress, self._services, self._judge, options.timeout) if nginx else None

    def run(self) -> None:
        """Roll out. Raises ``RolloutError``; the old version then serves, unless the text says otherwise."""
        if self._options.dry_run:
            self._show_plan()
            return
        proxy = self._nginx.settle() if self._nginx else find_proxy(self._engine).container
        app = Rollout(self._engine, self._progress, self._services, self._judge, self._options)
        names = {self._services[APP].image: app.serving_image(), self._services[NGINX].image: proxy.image}
        try:
            self._take_images()
            new = self._nginx.prepare(proxy) if self._nginx else None
        except (EngineError, RolloutError, KeyboardInterrupt) as error:
            self._name(names)
            app.forget_release()
            said = "interrupted" if isinstance(error, KeyboardInterrupt) else error
            raise RolloutError(f"{said}; the old version serves") from error
        change = _Change(self._nginx, proxy, new)
        try:
            outcome = app.run(change) if self._with_app else Outcome.UNCHANGED
        except BaseException:
            if self._nginx and not change.done:
                self._nginx.undo(proxy)
            raise
        if outcome == Outcome.ENDED:
            self._name(names)
        elif self._nginx and outcome == Outcome.WAITING:
            self._nginx.put_off(proxy)
        elif self._nginx and outcome == Outcome.UNCHANGED and not new:
            self._nginx.reload(proxy)
        elif self._nginx and new:
            change()
            change.raise_failure()
            self._nginx.finish(proxy)

    def _take_images(self) -> None:
        chosen = [self._services[APP]] * self._with_app + ([self._nginx.service] if self._nginx else [])
        if self._options.source == "build":
            with self._progress.step(f"build {' and '.join(each.image for each in chosen)}"):
                try:
                    self._engine.build(*chosen)
                except EngineError as error:
                    raise RolloutError(f"the image does not build: {error}") from error
        elif self._options.source == "present":
            for service in chosen:
                if self._engine.image_id(service.image) is None:
                    raise RolloutError(f"there is no image {service.image}")

    def _name(self, names: dict[str, str]) -> None:
        for name, image in names.items():
            self._engine.tag(image, name)

    def _show_plan(self) -> None:
        steps = ["build"] if self._options.source == "build" else []
        if self._nginx:
            steps += self._nginx.plan_before()
        if self._with_app:
            steps += Rollout(self._engine, self._progress, self._services, self._judge, self._options).plan()
        if self._nginx:
            steps += self._nginx.plan_after()
        for number, step in enumerate(steps, 1):
            self._progress.note(f"{number}. {step}")


class _Change:
    """The change from one Nginx to another, made once: when the application's rollout calls, or after it."""

    def __init__(self, nginx: NginxRollout | None, old: Container, new: Container | None) -> None:
        self._nginx, self._old, self._new = nginx, old, new
        self._serving = old
        self._failure: RolloutError | None = None
        self.done = False

    def __call__(self) -> Container:
        """Return the Nginx that serves. What fails is kept for later: the application's rollout goes on."""
        if self._nginx and self._new and not self.done:
            self.done = True
            try:
                self._serving = self._nginx.switch(self._old, self._new)
            except RolloutError as error:
                self._failure = error
        return self._serving

    def raise_failure(self) -> None:
        """Raise what has failed, if anything has."""
        if self._failure:
            raise self._failure
