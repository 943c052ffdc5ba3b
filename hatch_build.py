"""Add the addresses of the project to the metadata of the package, once there is a repository."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Derive every address from `repository` in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the project's URLs, and make the links of the description absolute."""
        text = (Path(self.root) / "README.md").read_text()
        repository = self.config["repository"]
        if repository:
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": self.config["documentation"] or f"{repository}#documentation",
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
            local = r"\]\((?!https?:|#)"
            text = re.sub(rf"(!\[[^\]]*){local}", rf"\1]({repository}/raw/main/", text)
            text = re.sub(local, f"]({repository}/blob/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
