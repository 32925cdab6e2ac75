"""Every kind of damaged input that needs no server."""

from tests.fuzz import annotations, documents, networks, pictures, texts, volumes

HERE = {
    **volumes.CAMPAIGNS,
    **pictures.CAMPAIGNS,
    **annotations.CAMPAIGNS,
    **texts.CAMPAIGNS,
    **documents.CAMPAIGNS,
    **networks.CAMPAIGNS,
}
